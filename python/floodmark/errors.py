"""What can go wrong, said so that a notebook can show it."""

import contextlib
from collections.abc import Iterator

import grpc
import pyarrow as pa
import pyarrow.flight as flight

#: What Arrow makes of gRPC's codes.
_CODES = (
    (pa.ArrowInvalid, "INVALID_ARGUMENT"),
    (pa.ArrowKeyError, "NOT_FOUND"),
    (pa.ArrowNotImplementedError, "UNIMPLEMENTED"),
    (flight.FlightUnavailableError, "UNAVAILABLE"),
)


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
        code = error.code().name if isinstance(error, grpc.Call) else None
        said = error.details() if isinstance(error, grpc.Call) else str(error)
        if not said and code == "UNIMPLEMENTED":
            said = "the server does not offer this call: see what it was started with"
        failure = FloodmarkError(said or code)
        failure.code = code
        raise failure from None
    except FloodmarkError:
        raise
    except (pa.ArrowException, OSError) as error:
        # Flight adds what only a developer of Arrow can use.
        message = str(error).split(". gRPC client debug context", 1)[0].split(" Detail: ", 1)[0]
        failure = FloodmarkError(message.split(" error, with message: ", 1)[-1].strip())
        failure.code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
        raise failure from None
