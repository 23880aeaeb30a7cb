"""Faults that tests inject into the strict authorization server, one per token request."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait before handling; a server that stops meanwhile closes the connection instead."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait for the test before handling; a server that stops closes the connection instead."""

    released: threading.Event


@dataclass(frozen=True, slots=True)
class StatusReply:
    """Send this reply; do not handle the request."""

    code: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class ReplacedBody:
    """Handle, then send this body instead of the real one."""

    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Truncate:
    """Handle, send the head and the first `size` bytes of the body, close the connection."""

    size: int


Fault = Delay | Hold | StatusReply | ReplacedBody | Truncate
