"""The log of predictions as a table, and its rows as requests that another version of the model can answer."""

import datetime
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from floodmark import streams, values
from floodmark.errors import FloodmarkError
from floodmark.v1 import predictions_pb2, score_pb2, value_pb2

#: Rows of a request that scores again: few, so that live calls need not wait for it.
ROWS = 256
_TIME = pa.timestamp("us", tz="UTC")
#: The columns of each table, before those that rows brought along.
_COLUMNS: dict[str, pa.DataType] = {
    "at": _TIME,
    "as_of": _TIME,
    "version": pa.int64(),
    "model": pa.string(),
    "model_version": pa.int64(),
    "score": pa.float64(),
    "error": pa.string(),
}


def asked(between: tuple[Any, Any] | None, limit: int | None) -> predictions_pb2.ListPredictionsRequest:
    """The request for the records between two times, the second one not included."""
    if limit is not None and limit < 1:
        raise FloodmarkError(f"limit is at least 1. limit={limit}")
    request = predictions_pb2.ListPredictionsRequest(limit=limit or 0)
    if between is not None:
        start, end = map(_instant, between)
        request.from_micros = values.micros(start)
        request.to_micros = values.micros(end) - 1
    return request


def table(records: Iterable[predictions_pb2.Prediction]) -> pa.Table:
    """A row for each record; what a row brought along has a column by its name, and is null in rows without it."""
    records = iter(records)
    pieces = [_piece(())]
    while some := list(itertools.islice(records, streams.CHUNK_ROWS)):
        pieces.append(_piece(some))
    made = pa.concat_tables(pieces, promote_options="permissive")
    return made.select([*(name for name in made.column_names if name != "request"), "request"])


def _piece(records: Sequence[predictions_pb2.Prediction]) -> pa.Table:
    made: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    brought: dict[str, list[Any]] = {}
    requests = []
    for at, record in enumerate(records):
        request, [row] = record.request, record.request.rows
        scored = record.row if record.WhichOneof("outcome") == "row" else None
        made["at"].append(record.at_micros)
        made["as_of"].append((scored or (row if row.HasField("as_of_micros") else request)).as_of_micros)
        made["version"].append(scored.version if scored else request.version if request.HasField("version") else None)
        made["model"].append(request.model)
        made["model_version"].append(scored.model_version if scored else int(request.model_version or 0) or None)
        made["score"].append(scored.score if scored else None)
        made["error"].append(None if scored else record.error.message)
        given = dict(zip(request.event_shape.columns, row.event.values))
        given |= dict(zip(request.key_names, row.keys)) | dict(zip(request.request_names, row.request))
        for name, value in given.items():
            column = brought.setdefault(name, [])
            column.extend(itertools.repeat(None, at - len(column)))
            column.append(values.to_python(value))
        requests.append(request.SerializeToString())
    columns = {name: pa.array(made[name], kind) for name, kind in _COLUMNS.items()}
    for name, column in brought.items():
        column.extend(itertools.repeat(None, len(requests) - len(column)))
        columns[f"row.{name}" if name in (*_COLUMNS, "request") else name] = pa.array(column)
    return pa.table(columns | {"request": pa.array(requests, pa.binary())})


def again(predictions: pa.Table, model_version: int | str) -> Iterator[tuple[score_pb2.ScoreRequest, list[int]]]:
    """Requests for the scores of another version, each with the places of its rows: those that have all but themselves in common."""
    if "request" not in predictions.schema.names:
        raise FloodmarkError("the rows lack the column request, which tells how each was scored: pass rows of predictions()")
    alike: dict[bytes, tuple[score_pb2.ScoreRequest, list[int]]] = {}
    for place, logged in enumerate(predictions.column("request").to_pylist()):
        request = score_pb2.ScoreRequest.FromString(logged)
        [row] = request.rows
        if not row.HasField("as_of_micros") and request.HasField("as_of_micros"):
            row.as_of_micros = request.as_of_micros
        for field in ("rows", "as_of_micros", "request_id", "include_features"):
            request.ClearField(field)
        request.model_version = str(model_version)
        shape = request.SerializeToString(deterministic=True)
        shared, places = alike.setdefault(shape, (request, []))
        shared.rows.append(row)
        places.append(place)
        if len(places) == ROWS:
            yield alike.pop(shape)
    yield from alike.values()


def rescored(predictions: pa.Table, found: dict[int, score_pb2.ScoreRow]) -> pa.Table:
    """The same rows with the scores that were found, by their places."""
    for name in ("score", "model_version"):
        column = pa.array([getattr(found[place], name) for place in range(predictions.num_rows)], _COLUMNS[name])
        predictions = predictions.set_column(predictions.schema.get_field_index(name), name, column)
    return predictions


def _instant(time: datetime.date | str) -> datetime.datetime:
    """A day is its first instant; a time without a zone is UTC."""
    try:
        time = datetime.datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError:
        raise FloodmarkError(f"a time is expected, as 2018-06-01 or 2018-06-01T12:00:00Z. found={time}") from None
    if isinstance(time, datetime.datetime):
        return time
    return datetime.datetime(time.year, time.month, time.day)
