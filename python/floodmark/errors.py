"""What can go wrong, said so that a notebook can show it."""

import contextlib
from collections.abc import Iterator

import grpc
import pyarrow as pa


class FloodmarkError(ValueError):
    """What is wrong, and the way out; where a server refused, ``code`` is the gRPC code's name, such as ``NOT_FOUND``."""

    code: str | None = None


class FloodmarkWarning(UserWarning):
    """Something that was not asked for and may not be wanted, such as events that came too late."""


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Raises what Arrow and gRPC say as one :class:`FloodmarkError`, without their frames and debug text."""
    try:
        yield
    except grpc.RpcError as error:
        failure = FloodmarkError(error.details() if isinstance(error, grpc.Call) else str(error))
        failure.code = error.code().name if isinstance(error, grpc.Call) else None
        raise failure from None
    except FloodmarkError:
        raise
    except (pa.ArrowException, OSError) as error:
        # Flight adds what only a developer of Arrow can use; the C stream adds how the stream was read.
        message = str(error).split(". gRPC client debug context", 1)[0].split(" Detail: ", 1)[0]
        raise FloodmarkError(message.removeprefix("Flight returned ").strip()) from None
