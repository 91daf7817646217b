"""Values of messages, and what they are in Python and Arrow."""

import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from floodmark.errors import FloodmarkError
from floodmark.v1 import features_pb2, value_pb2

_TYPES = {
    value_pb2.TYPE_BOOL: pa.bool_(),
    value_pb2.TYPE_INT64: pa.int64(),
    value_pb2.TYPE_FLOAT64: pa.float64(),
    value_pb2.TYPE_STRING: pa.string(),
    value_pb2.TYPE_TIMESTAMP: pa.timestamp("us", tz="UTC"),
}
_KINDS = (
    ("bool_value", pa.types.is_boolean),
    ("int64_value", pa.types.is_integer),
    ("double_value", pa.types.is_floating),
    ("string_value", lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)),
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def arrow_type(column: features_pb2.FeatureInfo) -> pa.DataType | None:
    """A feature's type; ``None`` where it follows from the values."""
    kind = _TYPES.get(column.type)
    return pa.list_(kind) if kind is not None and column.list else kind


def micros(time: datetime.datetime) -> int:
    """Microseconds since the epoch; a time without a zone is UTC."""
    return (time.replace(tzinfo=time.tzinfo or datetime.timezone.utc) - _EPOCH) // datetime.timedelta(microseconds=1)


def micros_of(column: pa.ChunkedArray) -> list[int | None]:
    """A column of times as microseconds since the epoch."""
    if not pa.types.is_timestamp(column.type):
        raise FloodmarkError(f"a column of times is expected. found={column.type}")
    return pc.cast(pc.cast(column, pa.timestamp("us", tz=column.type.tz), safe=False), pa.int64()).to_pylist()


def of_column(column: pa.ChunkedArray) -> list[value_pb2.Value]:
    """A column as values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return of_column(pc.cast(column, kind.value_type))
    if pa.types.is_decimal(kind):
        return of_column(pc.cast(column, pa.float64()))
    if pa.types.is_timestamp(kind):
        return [_value("timestamp_micros", time) for time in micros_of(column)]
    if pa.types.is_null(kind):
        return [value_pb2.Value() for _ in column]
    for name, is_kind in _KINDS:
        if is_kind(kind):
            return [_value(name, value) for value in column.to_pylist()]
    raise FloodmarkError(f"a column has a type that no value has: cast it. found={kind}")


def to_python(value: value_pb2.Value) -> Any:
    """A value; ``None`` where there is none."""
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "timestamp_micros":
        return _EPOCH + datetime.timedelta(microseconds=value.timestamp_micros)
    if kind == "list_value":
        return [to_python(item) for item in value.list_value.values]
    return getattr(value, kind)


def _value(kind: str, value: Any) -> value_pb2.Value:
    return value_pb2.Value() if value is None else value_pb2.Value(**{kind: value})
