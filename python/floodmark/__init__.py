"""Point-in-time training sets, features and scores.

A client of a running floodmark::

    client = floodmark.Client("127.0.0.1:50051")
    training = client.training_set(spine, service="fraud", time="tx_datetime", event_id="transaction_id")

and the same kernel in this process, with no server at all::

    training = floodmark.training_set("definitions.yaml", {"transactions": events}, spine, service="fraud", time="tx_datetime")

Frames are pandas, Polars or Arrow; what comes back is of the kind that was given.
"""

from typing import TYPE_CHECKING, Any

from floodmark.client import Client
from floodmark.errors import FloodmarkError, FloodmarkWarning

if TYPE_CHECKING:
    from floodmark.kernel import training_set

__all__ = ["Client", "FloodmarkError", "FloodmarkWarning", "training_set"]


def __getattr__(name: str) -> Any:
    """The kernel is loaded when it is asked for: a client needs nothing that has to be built."""
    if name == "training_set":
        from floodmark.kernel import training_set

        return training_set
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
