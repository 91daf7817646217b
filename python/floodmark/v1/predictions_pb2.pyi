from floodmark.v1 import score_pb2 as _score_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PredictionOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREDICTION_ORIGIN_UNSPECIFIED: _ClassVar[PredictionOrigin]
    PREDICTION_ORIGIN_CALL: _ClassVar[PredictionOrigin]
    PREDICTION_ORIGIN_STREAM: _ClassVar[PredictionOrigin]
PREDICTION_ORIGIN_UNSPECIFIED: PredictionOrigin
PREDICTION_ORIGIN_CALL: PredictionOrigin
PREDICTION_ORIGIN_STREAM: PredictionOrigin

class ListPredictionsRequest(_message.Message):
    __slots__ = ("from_micros", "to_micros", "limit")
    FROM_MICROS_FIELD_NUMBER: _ClassVar[int]
    TO_MICROS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    from_micros: int
    to_micros: int
    limit: int
    def __init__(self, from_micros: _Optional[int] = ..., to_micros: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("at_micros", "origin", "request", "row", "error", "columns_id", "sequence", "provisional_features")
    AT_MICROS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PROVISIONAL_FEATURES_FIELD_NUMBER: _ClassVar[int]
    at_micros: int
    origin: PredictionOrigin
    request: _score_pb2.ScoreRequest
    row: _score_pb2.ScoreRow
    error: _score_pb2.ScoreError
    columns_id: int
    sequence: int
    provisional_features: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, at_micros: _Optional[int] = ..., origin: _Optional[_Union[PredictionOrigin, str]] = ..., request: _Optional[_Union[_score_pb2.ScoreRequest, _Mapping]] = ..., row: _Optional[_Union[_score_pb2.ScoreRow, _Mapping]] = ..., error: _Optional[_Union[_score_pb2.ScoreError, _Mapping]] = ..., columns_id: _Optional[int] = ..., sequence: _Optional[int] = ..., provisional_features: _Optional[_Iterable[bool]] = ...) -> None: ...
