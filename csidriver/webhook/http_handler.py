"""HTTP/1.1 on one connection: one request after another, each within its time and size."""

import contextlib
import io
import socket
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from csidriver.core.names import ADMISSION_PATH
from csidriver.webhook.connections import Connection, ConnectionState
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.review_handler import Handler, ReviewResponse, error_response

_BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Sizes in bytes, times in seconds."""

    # Three MiB is what kube-apiserver takes of its clients; escaping, defaults and the review
    # around the pod come on top.
    body: int = 6 << 20
    head: int = 1 << 16
    # Larger bodies are read few at a time, or they would fill the memory together.
    large_body_threshold: int = 1 << 16
    large_bodies: int = 4
    handshake: float = 5.0
    # From the first byte of a request to the last of its answer; kube-apiserver waits for 5.
    request: float = 10.0
    # Go's client lets go of idle connections after 90. Were we first, a request might be on its
    # way, and a POST is not repeated.
    idle: float = 180.0
    # How long the rest of a request is thrown away that was answered before it was read.
    discard: float = 1.0
    connections: int = 256
    max_wait: float = 1.0


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What all connections share. `leaving` once clients shall look for another replica."""

    handler: Handler
    limits: HttpLimits
    metrics: WebhookMetrics
    large_bodies: threading.BoundedSemaphore
    # One answer at a time: parsed JSON is large, and Python would not be faster with two.
    handler_lock: threading.Lock
    draining: threading.Event


class _TooManyBytes(OSError):
    """More bytes than a request may have."""


class _BoundedReader(io.RawIOBase):
    """Bytes of a socket until a moment that does not move, and no more of them than allowed."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.deadline = 0.0
        self.remaining = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self.remaining <= 0:
            raise _TooManyBytes
        self._socket.settimeout(left)
        got = self._socket.recv_into(memoryview(buffer)[: self.remaining])
        self.remaining -= got
        return got


class AdmissionHandler(BaseHTTPRequestHandler):
    """Serves one connection until it ends; `serve` raises OSError for whatever its peer does."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "oauth2-csi", ""

    def __init__(self, guest: Connection, desk: ServerContext) -> None:  # pylint: disable=super-init-not-called
        # Not that of the base class, which serves at once and knows no limits.
        self._peer = guest
        self._server = desk
        self._bounded = _BoundedReader(guest.socket)
        self._started = 0.0
        self.connection = self.request = guest.socket
        self.rfile = self._reader = io.BufferedReader(self._bounded, _BUFFER)
        self.wfile = io.BufferedWriter(guest.socket.makefile("wb", 0), _BUFFER)
        self.client_address = ("", 0)
        self.close_connection = False
        # Of the base class; an error may be told before they are known.
        self.command, self.requestline, self.request_version = "", "", self.protocol_version

    def serve(self) -> None:
        """Answer requests until the peer or a limit ends it."""
        with contextlib.closing(self.wfile):
            while not self.close_connection:
                self._peer.set_state(ConnectionState.IDLE, time.monotonic())
                if self._wait_for_request():
                    self.handle_one_request()

    def _wait_for_request(self) -> bool:
        """Whether another request begins."""
        limits, source = self._server.limits, self._bounded
        source.deadline = time.monotonic() + limits.idle
        if not self._has_buffered_bytes() and not self._peer.is_readable(limits.idle):
            raise TimeoutError
        # Before a byte is taken: whoever ends idle connections sees either the byte or this.
        self._started = time.monotonic()
        self._peer.set_state(ConnectionState.WAITING, self._started)
        source.deadline, source.remaining = self._started + limits.request, limits.head
        if not self._reader.peek(1):
            self.close_connection = True
            return False
        return True

    def _has_buffered_bytes(self) -> bool:
        """Whether something of the next request was taken with the one before."""
        self._bounded.remaining = 0
        try:
            return bool(self._peer.socket.pending() or self._reader.peek(1))
        except _TooManyBytes:
            return False

    def handle_one_request(self) -> None:
        """One of them; a head without end is an error of its own."""
        try:
            super().handle_one_request()
        except _TooManyBytes:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def do_POST(self) -> None:
        """The one method there is."""
        if self.path.partition("?")[0] != ADMISSION_PATH:
            self._refuse(HTTPStatus.NOT_FOUND, f"only {ADMISSION_PATH} is served here")
            return
        kind = self.headers.get_content_type()
        if kind != "application/json":
            problem = "the content type must be application/json"
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, problem)
            return
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") or not lengths:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is required")
        elif len(lengths) > 1 or not lengths[0].isascii() or not lengths[0].isdigit():
            self._refuse(HTTPStatus.BAD_REQUEST, "one Content-Length is required, a number")
        elif len(lengths[0]) > 9 or int(lengths[0]) > self._server.limits.body:  # noqa: PLR2004
            problem = f"more than {self._server.limits.body} bytes"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
        else:
            self._answer_review(int(lengths[0]))

    def _answer_review(self, length: int) -> None:
        """Read a body and answer it."""
        light = length <= self._server.limits.large_body_threshold
        left = self._bounded.deadline - time.monotonic()
        if not light and not self._server.large_bodies.acquire(timeout=max(0.0, left)):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "busy with other requests of this size")
            return
        try:
            self._bounded.remaining = length
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                return
            self._peer.set_state(ConnectionState.ANSWERING, time.monotonic())
            with self._server.handler_lock:
                reply = self._server.handler(body)
        finally:
            if not light:
                self._server.large_bodies.release()
        self._send(reply)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class finds wrong, in our words; `message` may quote the request."""
        del message, explain
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._refuse(status, status.phrase)

    def _refuse(self, status: HTTPStatus, problem: str) -> None:
        """Answer without having read the body: the connection is of no use after that."""
        self.close_connection = True
        self._send(error_response(status, problem))
        # A close with bytes unread makes the kernel throw away our answer.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._peer.socket, socket.SHUT_WR)
            self._bounded.deadline = time.monotonic() + self._server.limits.discard
            self._bounded.remaining = 2 * self._server.limits.body
            while self._bounded.readinto(bytearray(_BUFFER)):
                pass

    def _send(self, reply: ReviewResponse) -> None:
        if self._server.draining.is_set():
            self.close_connection = True
        # Without a version that can be read the base class would leave out status and headers.
        self.request_version = self.protocol_version
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST")
        if reply.status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(reply.body)
        self._peer.socket.settimeout(max(0.01, self._bounded.deadline - time.monotonic()))
        self.wfile.flush()
        self._server.metrics.count(reply.result)
        self._server.metrics.seconds.observe(time.monotonic() - self._started)

    def handle_expect_100(self) -> bool:
        """The client waits for it, so it must leave the buffer."""
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def log_message(self, *_: object) -> None:
        """Requests are counted, not logged."""
