"""HTTP/1.1 on one connection: requests one after another, each with a deadline and a size limit.

What is served, and how an error looks like, a subclass knows.
"""

import contextlib
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from csidriver.http_server.connections import Connection, ConnectionState

if TYPE_CHECKING:
    from csidriver.http_server.server import HttpServer

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Sizes in bytes, times in seconds; by default those of health and metrics.

    Kubelet and Prometheus send a head of less than 1 KiB at once. A connection for one request
    lasts `idle`, `request` and `discard` at most: 5 seconds.
    """

    body: int = 0
    head: int = 1 << 12
    handshake: float = 5.0
    # From the first byte of a request to the last byte of its answer.
    request: float = 3.5
    # Until the first byte of a request.
    idle: float = 1.0
    # For how long a refusal is sent, and the rest of its request read and discarded.
    discard: float = 0.5
    connections: int = 32
    # How long a peer may be slow while others wait for its place.
    max_wait: float = 0.1


class _TooManyBytes(OSError):
    """The request has more bytes than allowed."""


class _BoundedSocket(io.RawIOBase):
    """Reads at most `remaining` bytes of a socket, and writes, until `deadline` (monotonic)."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.deadline = 0.0
        self.remaining = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._set_timeout()
        if self.remaining <= 0:
            raise _TooManyBytes
        count = self._socket.recv_into(memoryview(buffer)[: self.remaining])
        self.remaining -= count
        return count

    def write_at_once(self, data: bytes) -> memoryview:
        """Write what needs no waiting for the peer; return the rest."""
        rest = memoryview(data)
        self._socket.settimeout(0)
        try:
            while rest:
                rest = rest[self._socket.send(rest) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        return rest

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        while rest:
            self._set_timeout()
            rest = rest[self._socket.send(rest) :]
        return len(data)

    def _set_timeout(self) -> None:
        # For each call: a peer must not gain time with each byte.
        timeout = self.deadline - time.monotonic()
        if timeout <= 0:
            raise TimeoutError
        self._socket.settimeout(timeout)


class RequestHandler(BaseHTTPRequestHandler):
    """Serves one connection until it ends; `serve` raises OSError for all faults of the peer."""

    protocol_version = "HTTP/1.1"
    method = "GET"  # the one that is served

    def __init__(self, peer: Connection, server: "HttpServer") -> None:  # pylint: disable=super-init-not-called
        # The base class' constructor would serve at once, without limits.
        self._peer = peer
        self._server = server
        self._limits = server.limits
        self._started = 0.0
        self.connection = self.request = peer.socket
        self._bounded = _BoundedSocket(peer.socket)
        self.wfile = self._bounded  # type: ignore[assignment]
        self.rfile = self._reader = io.BufferedReader(self._bounded, self._limits.head)
        self.client_address = ("", 0)
        self.close_connection = False
        # The base class needs these for an error that occurs before the request line is parsed.
        self.command, self.requestline, self.request_version = "", "", self.protocol_version

    def serve(self) -> None:
        """Answer requests until the peer closes the connection or exceeds a limit."""
        while not self.close_connection:
            self._peer.set_state(ConnectionState.IDLE)
            self._wait_for_request()
            self.handle_one_request()

    def _wait_for_request(self) -> None:
        limits, bounded = self._limits, self._bounded
        bounded.deadline = time.monotonic() + limits.idle
        if not self._has_buffered_bytes() and not self._peer.is_readable(limits.idle):
            raise TimeoutError
        # Before a byte is read, so that the limiter of connections sees either the byte or this.
        self._started = time.monotonic()
        self._peer.set_state(ConnectionState.WAITING)
        bounded.deadline, bounded.remaining = self._started + limits.request, limits.head

    def _has_buffered_bytes(self) -> bool:
        """Return True if bytes of the next request were read together with the previous one."""
        self._bounded.remaining = 0
        connected = self._peer.socket
        try:
            pending = connected.pending() if isinstance(connected, ssl.SSLSocket) else 0
            return bool(pending or self._reader.peek(1))
        except _TooManyBytes:
            return False

    def handle_one_request(self) -> None:
        """Answer one request, also one with too many headers."""
        try:
            super().handle_one_request()
        except _TooManyBytes:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def send_problem(self, status: HTTPStatus, problem: str) -> None:
        """Send an error in the form that the clients of this port read."""
        raise NotImplementedError

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send an error of the base class without its `message`, which may quote the request."""
        del message, explain
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self.refuse(status, status.phrase)

    def refuse(self, status: HTTPStatus, problem: str) -> None:
        """Answer without reading the body; the connection cannot be used after that."""
        self.close_connection = True
        self._bounded.deadline = time.monotonic() + self._limits.discard
        self.send_problem(status, problem)
        self._peer.set_state(ConnectionState.WAITING)
        # If unread bytes remain at the close, the kernel discards our answer.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._peer.socket, socket.SHUT_WR)
            self._bounded.remaining = 2 * max(self._limits.body, self._limits.head)
            while self._bounded.readinto(bytearray(_CHUNK)):
                pass

    def read_length(self) -> int | None:
        """Return the length of the body; refuse a request without one, or with too large a one."""
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") or not lengths:
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is required")
        elif len(lengths) > 1 or not lengths[0].isascii() or not lengths[0].isdigit():
            self.refuse(HTTPStatus.BAD_REQUEST, "Content-Length must be one number")
        elif len(lengths[0]) > 9 or int(lengths[0]) > self._limits.body:  # noqa: PLR2004
            problem = f"the body has more than {self._limits.body} bytes"
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
        else:
            return int(lengths[0])
        return None

    def read_body(self, length: int) -> bytes | None:
        """Return the body, or None if the peer stopped before its end."""
        self._bounded.remaining = length
        body = self.rfile.read(length)
        self._peer.set_state(ConnectionState.ANSWERING)
        self.close_connection |= len(body) < length
        return None if len(body) < length else body

    def send_page(
        self,
        status: HTTPStatus,
        content_type: str,
        body: bytes,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Send an answer with `more` headers."""
        self._peer.set_state(ConnectionState.ANSWERING)
        self.close_connection |= self._server.draining.is_set()
        headers = {"Date": self.date_time_string(), "Content-Type": content_type}
        headers["Content-Length"] = str(len(body))
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = self.method
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = "1"
        if self.close_connection:
            headers["Connection"] = "close"
        headers.update(more)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{self.protocol_version} {status.value} {status.phrase}\r\n{lines}\r\n"
        # Only who does not take it at once is slow: else it may be this process.
        if rest := self._bounded.write_at_once(head.encode("ascii") + body):
            self._peer.set_state(ConnectionState.WAITING)
            self._bounded.write(rest)

    def log_message(self, *_: object) -> None:
        """Log nothing: requests are counted instead, and kubelet reports failed probes."""
