from floodmark.v1 import features_pb2 as _features_pb2
from floodmark.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScoreRequest(_message.Message):
    __slots__ = ("model", "model_version", "key_names", "request_names", "event_shape", "rows", "as_of_micros", "version", "include_features", "request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_NAMES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_NAMES_FIELD_NUMBER: _ClassVar[int]
    EVENT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MICROS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FEATURES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_version: str
    key_names: _containers.RepeatedScalarFieldContainer[str]
    request_names: _containers.RepeatedScalarFieldContainer[str]
    event_shape: _features_pb2.EventShape
    rows: _containers.RepeatedCompositeFieldContainer[_features_pb2.EntityRow]
    as_of_micros: int
    version: int
    include_features: bool
    request_id: str
    def __init__(self, model: _Optional[str] = ..., model_version: _Optional[str] = ..., key_names: _Optional[_Iterable[str]] = ..., request_names: _Optional[_Iterable[str]] = ..., event_shape: _Optional[_Union[_features_pb2.EventShape, _Mapping]] = ..., rows: _Optional[_Iterable[_Union[_features_pb2.EntityRow, _Mapping]]] = ..., as_of_micros: _Optional[int] = ..., version: _Optional[int] = ..., include_features: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("model", "rows", "times", "request_id", "feature_names")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_NAMES_FIELD_NUMBER: _ClassVar[int]
    model: str
    rows: _containers.RepeatedCompositeFieldContainer[ScoreRow]
    times: ScoreTimes
    request_id: str
    feature_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., rows: _Optional[_Iterable[_Union[ScoreRow, _Mapping]]] = ..., times: _Optional[_Union[ScoreTimes, _Mapping]] = ..., request_id: _Optional[str] = ..., feature_names: _Optional[_Iterable[str]] = ...) -> None: ...

class ScoreRow(_message.Message):
    __slots__ = ("score", "model_version", "as_of_micros", "watermark_micros", "version", "missing", "provisional", "features")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MICROS_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_MICROS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    PROVISIONAL_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    score: float
    model_version: int
    as_of_micros: int
    watermark_micros: int
    version: int
    missing: int
    provisional: int
    features: _containers.RepeatedCompositeFieldContainer[_value_pb2.Value]
    def __init__(self, score: _Optional[float] = ..., model_version: _Optional[int] = ..., as_of_micros: _Optional[int] = ..., watermark_micros: _Optional[int] = ..., version: _Optional[int] = ..., missing: _Optional[int] = ..., provisional: _Optional[int] = ..., features: _Optional[_Iterable[_Union[_value_pb2.Value, _Mapping]]] = ...) -> None: ...

class ScoreTimes(_message.Message):
    __slots__ = ("lookup_nanos", "queue_nanos", "model_nanos", "batch_rows")
    LOOKUP_NANOS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_NANOS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NANOS_FIELD_NUMBER: _ClassVar[int]
    BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    lookup_nanos: int
    queue_nanos: int
    model_nanos: int
    batch_rows: int
    def __init__(self, lookup_nanos: _Optional[int] = ..., queue_nanos: _Optional[int] = ..., model_nanos: _Optional[int] = ..., batch_rows: _Optional[int] = ...) -> None: ...

class ScoreStreamResponse(_message.Message):
    __slots__ = ("response", "error", "request_id")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    response: ScoreResponse
    error: ScoreError
    request_id: str
    def __init__(self, response: _Optional[_Union[ScoreResponse, _Mapping]] = ..., error: _Optional[_Union[ScoreError, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ScoreError(_message.Message):
    __slots__ = ("code", "reason", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
