"""The models of a running server, as dictionaries."""

from typing import Any

from floodmark.v1 import models_pb2

_STATE = "MODEL_STATE_"


def as_dict(info: models_pb2.ModelInfo) -> dict[str, Any]:
    """A version of a model; ``canary_percent`` is ``None`` where it is not the canary."""
    return {
        "model": info.model,
        "version": info.version,
        "state": models_pb2.ModelState.Name(info.state).removeprefix(_STATE),
        "reason": info.reason,
        "labels": list(info.labels),
        "service": info.service,
        "inputs": list(info.inputs),
        "runs": info.runs,
        "errors": info.errors,
        "run_nanos": info.run_nanos,
        "canary_percent": info.canary_percent if info.HasField("canary_percent") else None,
        "differences": [_difference(difference) for difference in info.differences],
        "retiring": info.retiring,
    }


def _difference(difference: models_pb2.ScoreDifference) -> dict[str, Any]:
    numbers = ("answered_version", "rows", "dropped", "errors", "mean", "mean_abs", "max_abs")
    return {name: getattr(difference, name) for name in numbers} | {"at_most": list(difference.at_most)}
