from floodmark.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_AS_SERVED: _ClassVar[Mode]
    MODE_AS_CORRECTED: _ClassVar[Mode]

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_PRESENT: _ClassVar[Status]
    STATUS_NULL: _ClassVar[Status]
    STATUS_NOT_FOUND: _ClassVar[Status]
    STATUS_EXPIRED: _ClassVar[Status]
MODE_AS_SERVED: Mode
MODE_AS_CORRECTED: Mode
STATUS_PRESENT: Status
STATUS_NULL: Status
STATUS_NOT_FOUND: Status
STATUS_EXPIRED: Status

class GetFeaturesRequest(_message.Message):
    __slots__ = ("service", "features", "key_names", "request_names", "event_shape", "rows", "as_of_micros", "version", "mode", "omit_names")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    KEY_NAMES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_NAMES_FIELD_NUMBER: _ClassVar[int]
    EVENT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MICROS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    OMIT_NAMES_FIELD_NUMBER: _ClassVar[int]
    service: str
    features: FeatureNames
    key_names: _containers.RepeatedScalarFieldContainer[str]
    request_names: _containers.RepeatedScalarFieldContainer[str]
    event_shape: EventShape
    rows: _containers.RepeatedCompositeFieldContainer[EntityRow]
    as_of_micros: int
    version: int
    mode: Mode
    omit_names: bool
    def __init__(self, service: _Optional[str] = ..., features: _Optional[_Union[FeatureNames, _Mapping]] = ..., key_names: _Optional[_Iterable[str]] = ..., request_names: _Optional[_Iterable[str]] = ..., event_shape: _Optional[_Union[EventShape, _Mapping]] = ..., rows: _Optional[_Iterable[_Union[EntityRow, _Mapping]]] = ..., as_of_micros: _Optional[int] = ..., version: _Optional[int] = ..., mode: _Optional[_Union[Mode, str]] = ..., omit_names: bool = ...) -> None: ...

class FeatureNames(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class EventShape(_message.Message):
    __slots__ = ("source", "columns")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    source: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, source: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ...) -> None: ...

class OwnEvent(_message.Message):
    __slots__ = ("id", "time_micros", "values", "exclude_self")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_MICROS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_SELF_FIELD_NUMBER: _ClassVar[int]
    id: _value_pb2.Value
    time_micros: int
    values: _containers.RepeatedCompositeFieldContainer[_value_pb2.Value]
    exclude_self: bool
    def __init__(self, id: _Optional[_Union[_value_pb2.Value, _Mapping]] = ..., time_micros: _Optional[int] = ..., values: _Optional[_Iterable[_Union[_value_pb2.Value, _Mapping]]] = ..., exclude_self: bool = ...) -> None: ...

class EntityRow(_message.Message):
    __slots__ = ("keys", "request", "as_of_micros", "event")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MICROS_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[_value_pb2.Value]
    request: _containers.RepeatedCompositeFieldContainer[_value_pb2.Value]
    as_of_micros: int
    event: OwnEvent
    def __init__(self, keys: _Optional[_Iterable[_Union[_value_pb2.Value, _Mapping]]] = ..., request: _Optional[_Iterable[_Union[_value_pb2.Value, _Mapping]]] = ..., as_of_micros: _Optional[int] = ..., event: _Optional[_Union[OwnEvent, _Mapping]] = ...) -> None: ...

class GetFeaturesResponse(_message.Message):
    __slots__ = ("names", "columns_id", "rows")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_ID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    columns_id: int
    rows: _containers.RepeatedCompositeFieldContainer[FeatureRow]
    def __init__(self, names: _Optional[_Iterable[str]] = ..., columns_id: _Optional[int] = ..., rows: _Optional[_Iterable[_Union[FeatureRow, _Mapping]]] = ...) -> None: ...

class FeatureRow(_message.Message):
    __slots__ = ("values", "statuses", "provisional", "provisional_values", "approximate_values", "as_of_micros", "watermark_micros", "version")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    PROVISIONAL_FIELD_NUMBER: _ClassVar[int]
    PROVISIONAL_VALUES_FIELD_NUMBER: _ClassVar[int]
    APPROXIMATE_VALUES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MICROS_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_MICROS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[_value_pb2.Value]
    statuses: _containers.RepeatedScalarFieldContainer[Status]
    provisional: bool
    provisional_values: _containers.RepeatedScalarFieldContainer[bool]
    approximate_values: _containers.RepeatedScalarFieldContainer[bool]
    as_of_micros: int
    watermark_micros: int
    version: int
    def __init__(self, values: _Optional[_Iterable[_Union[_value_pb2.Value, _Mapping]]] = ..., statuses: _Optional[_Iterable[_Union[Status, str]]] = ..., provisional: bool = ..., provisional_values: _Optional[_Iterable[bool]] = ..., approximate_values: _Optional[_Iterable[bool]] = ..., as_of_micros: _Optional[int] = ..., watermark_micros: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class ListServicesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListServicesResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceInfo]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceInfo, _Mapping]]] = ...) -> None: ...

class GetServiceRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class ServiceInfo(_message.Message):
    __slots__ = ("name", "keys", "request", "columns", "views", "columns_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    keys: _containers.RepeatedCompositeFieldContainer[_value_pb2.Column]
    request: _containers.RepeatedCompositeFieldContainer[_value_pb2.Column]
    columns: _containers.RepeatedCompositeFieldContainer[FeatureInfo]
    views: _containers.RepeatedCompositeFieldContainer[ViewInfo]
    columns_id: int
    def __init__(self, name: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[_value_pb2.Column, _Mapping]]] = ..., request: _Optional[_Iterable[_Union[_value_pb2.Column, _Mapping]]] = ..., columns: _Optional[_Iterable[_Union[FeatureInfo, _Mapping]]] = ..., views: _Optional[_Iterable[_Union[ViewInfo, _Mapping]]] = ..., columns_id: _Optional[int] = ...) -> None: ...

class FeatureInfo(_message.Message):
    __slots__ = ("name", "type", "list", "derived")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    DERIVED_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: _value_pb2.Type
    list: bool
    derived: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[_value_pb2.Type, str]] = ..., list: bool = ..., derived: bool = ...) -> None: ...

class ViewInfo(_message.Message):
    __slots__ = ("name", "entity", "source", "fingerprint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    entity: str
    source: str
    fingerprint: int
    def __init__(self, name: _Optional[str] = ..., entity: _Optional[str] = ..., source: _Optional[str] = ..., fingerprint: _Optional[int] = ...) -> None: ...
