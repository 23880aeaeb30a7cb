"""Faults that tests inject into the strict authorization server, one per token request."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from types import MappingProxyType

from csidriver.demo.http_messages import JSON, HttpReply


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait before handling; a server that stops meanwhile closes the connection instead."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait for the test before handling; a server that stops closes the connection instead."""

    released: threading.Event


@dataclass(frozen=True, slots=True)
class Drip:
    """Handle, then send the reply byte by byte."""

    seconds_per_byte: float


@dataclass(frozen=True, slots=True)
class DropBefore:
    """Close the connection; do not handle the request."""


@dataclass(frozen=True, slots=True)
class DropAfter:
    """Handle, which rotates the token, then reset the connection without a reply."""


@dataclass(frozen=True, slots=True)
class StatusReply:
    """Send this reply; do not handle the request."""

    code: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def reply(self) -> HttpReply:
        return HttpReply(self.code, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class ReplacedBody:
    """Handle, then send this body instead of the real one."""

    content: bytes = field(repr=False)
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Oversized:
    """Handle, then pad the body with spaces to `size` bytes; it still parses."""

    size: int


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send a redirect; do not handle the request."""

    location: str
    code: int = HTTPStatus.TEMPORARY_REDIRECT

    def reply(self) -> HttpReply:
        return HttpReply(self.code, {"Location": self.location})


@dataclass(frozen=True, slots=True)
class Truncate:
    """Handle, send the head and the first `size` bytes of the body, close the connection."""

    size: int


Fault = (
    Delay
    | Hold
    | Drip
    | DropBefore
    | DropAfter
    | StatusReply
    | ReplacedBody
    | Oversized
    | Redirect
    | Truncate
)


def with_fault(reply: HttpReply, fault: Fault | None) -> HttpReply:
    """Return the reply, changed if the fault changes its content."""
    match fault:
        case ReplacedBody(content, content_type):
            headers = {**reply.headers, "Content-Type": content_type}
            return replace(reply, headers=headers, body=content)
        case Oversized(bytes_count):
            return replace(reply, body=reply.body.ljust(bytes_count))
        case _:
            return reply
