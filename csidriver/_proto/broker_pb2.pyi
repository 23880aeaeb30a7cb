from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeMessage(_message.Message):
    __slots__ = ("subscribe", "unsubscribe", "token")
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    UNSUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    subscribe: Subscription
    unsubscribe: int
    token: str
    def __init__(self, subscribe: _Optional[_Union[Subscription, _Mapping]] = ..., unsubscribe: _Optional[int] = ..., token: _Optional[str] = ...) -> None: ...

class Subscription(_message.Message):
    __slots__ = ("id", "namespace", "pod_name", "pod_uid", "secret", "config_map")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_NAME_FIELD_NUMBER: _ClassVar[int]
    POD_UID_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    CONFIG_MAP_FIELD_NUMBER: _ClassVar[int]
    id: int
    namespace: str
    pod_name: str
    pod_uid: str
    secret: str
    config_map: str
    def __init__(self, id: _Optional[int] = ..., namespace: _Optional[str] = ..., pod_name: _Optional[str] = ..., pod_uid: _Optional[str] = ..., secret: _Optional[str] = ..., config_map: _Optional[str] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("id", "companion", "absent", "damaged", "denied", "unavailable", "template", "others")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMPANION_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    id: int
    companion: Companion
    absent: Absent
    damaged: Damaged
    denied: Denied
    unavailable: Unavailable
    template: Template
    others: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[int] = ..., companion: _Optional[_Union[Companion, _Mapping]] = ..., absent: _Optional[_Union[Absent, _Mapping]] = ..., damaged: _Optional[_Union[Damaged, _Mapping]] = ..., denied: _Optional[_Union[Denied, _Mapping]] = ..., unavailable: _Optional[_Union[Unavailable, _Mapping]] = ..., template: _Optional[_Union[Template, _Mapping]] = ..., others: _Optional[_Iterable[int]] = ...) -> None: ...

class Companion(_message.Message):
    __slots__ = ("source_uid", "namespace_uid", "generation", "status", "message", "next_refresh", "access_token", "token_type", "issued_at", "expires_at", "written_at")
    SOURCE_UID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_UID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NEXT_REFRESH_FIELD_NUMBER: _ClassVar[int]
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_TYPE_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_FIELD_NUMBER: _ClassVar[int]
    source_uid: str
    namespace_uid: str
    generation: int
    status: str
    message: str
    next_refresh: float
    access_token: str
    token_type: str
    issued_at: float
    expires_at: float
    written_at: float
    def __init__(self, source_uid: _Optional[str] = ..., namespace_uid: _Optional[str] = ..., generation: _Optional[int] = ..., status: _Optional[str] = ..., message: _Optional[str] = ..., next_refresh: _Optional[float] = ..., access_token: _Optional[str] = ..., token_type: _Optional[str] = ..., issued_at: _Optional[float] = ..., expires_at: _Optional[float] = ..., written_at: _Optional[float] = ...) -> None: ...

class Absent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Damaged(_message.Message):
    __slots__ = ("problem",)
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    problem: str
    def __init__(self, problem: _Optional[str] = ...) -> None: ...

class Denied(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Unavailable(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class Template(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...
