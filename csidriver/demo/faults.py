"""Faults that the strict authorization server commits when told to, one per token request."""

import queue
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from types import MappingProxyType

from csidriver.demo.http_messages import JSON, HttpReply


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait before handling; a server that is stopped meanwhile hangs up instead."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drip:
    """Handle, then send the reply, status line included, byte by byte."""

    seconds_per_byte: float


@dataclass(frozen=True, slots=True)
class DropBefore:
    """Close the connection without handling."""


@dataclass(frozen=True, slots=True)
class DropAfter:
    """Handle, rotation included, then reset the connection without a reply."""


@dataclass(frozen=True, slots=True)
class StatusReply:
    """Answer this instead of handling."""

    code: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class ReplacedBody:
    """Handle, then answer with this body in place of the true one."""

    content: bytes = field(repr=False)
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Oversized:
    """Handle, then pad the reply with blanks: it parses, for whoever reads all of it."""

    size: int


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer a redirect instead of handling."""

    location: str
    code: int = HTTPStatus.TEMPORARY_REDIRECT


@dataclass(frozen=True, slots=True)
class Truncate:
    """Handle, announce the whole reply, send the first n bytes of its body and hang up."""

    size: int


Fault = (
    Delay
    | Drip
    | DropBefore
    | DropAfter
    | StatusReply
    | ReplacedBody
    | Oversized
    | Redirect
    | Truncate
)


class FaultQueue:
    """The faults still to be committed, in order; safe to share between threads."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Fault] = queue.SimpleQueue()

    def add(self, *faults: Fault) -> None:
        """Queue faults behind those that wait already."""
        for fault in faults:
            self._queue.put(fault)

    def take(self) -> Fault | None:
        """The next fault, which is then spent; None if there is none."""
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None


def replacement_reply(fault: Fault | None) -> HttpReply | None:
    """What a fault answers in place of handling, None if it lets the request be handled."""
    match fault:
        case StatusReply(code, body, headers):
            return HttpReply(code, headers, body)
        case Redirect(location, code):
            return HttpReply(code, {"Location": location})
        case _:
            return None


def with_fault(reply: HttpReply, fault: Fault | None) -> HttpReply:
    """The reply as a fault on its content leaves it; other faults leave it alone."""
    match fault:
        case ReplacedBody(content, content_type):
            headers = {**reply.headers, "Content-Type": content_type}
            return replace(reply, headers=headers, body=content)
        case Oversized(bytes_count):
            return replace(reply, body=reply.body.ljust(bytes_count))
        case _:
            return reply
