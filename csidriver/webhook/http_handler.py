"""HTTP/1.1 on one connection: requests one after another, each with a deadline and a size limit."""

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

    # kube-apiserver accepts 3 MiB from its clients; escaping, defaults and the review around the
    # pod are added to that.
    body: int = 6 << 20
    head: int = 1 << 16
    # Few larger bodies are read at a time, because many would fill the memory.
    large_body_threshold: int = 1 << 16
    large_bodies: int = 4
    handshake: float = 5.0
    # From the first byte of a request to the last byte of its answer; kube-apiserver waits for 5.
    request: float = 10.0
    # Go's client closes idle connections after 90. If we closed first, a request might be on its
    # way, and clients do not repeat a POST.
    idle: float = 180.0
    # For how long the rest of a refused request is read and discarded.
    discard: float = 1.0
    connections: int = 256
    max_wait: float = 1.0


@dataclass(frozen=True, slots=True)
class ServerContext:
    """Shared by all connections. When `draining` is set, every answer closes its connection."""

    handler: Handler
    limits: HttpLimits
    metrics: WebhookMetrics
    large_bodies: threading.BoundedSemaphore
    # One review at a time: parsed JSON is large, and Python would not be faster with two.
    handler_lock: threading.Lock
    draining: threading.Event


class _TooManyBytes(OSError):
    """The request has more bytes than allowed."""


class _BoundedReader(io.RawIOBase):
    """Reads at most `remaining` bytes of a socket, until `deadline` (monotonic seconds)."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.deadline = 0.0
        self.remaining = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        timeout = self.deadline - time.monotonic()
        if timeout <= 0:
            raise TimeoutError
        if self.remaining <= 0:
            raise _TooManyBytes
        self._socket.settimeout(timeout)
        count = self._socket.recv_into(memoryview(buffer)[: self.remaining])
        self.remaining -= count
        return count


class AdmissionHandler(BaseHTTPRequestHandler):
    """Serves one connection until it ends; `serve` raises OSError for all faults of the peer."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "oauth2-csi", ""

    def __init__(self, peer: Connection, shared: ServerContext) -> None:  # pylint: disable=super-init-not-called
        # The base class' constructor would serve at once, without limits.
        self._peer = peer
        self._shared = shared
        self._bounded = _BoundedReader(peer.socket)
        self._started = 0.0
        self.connection = self.request = peer.socket
        self.rfile = self._reader = io.BufferedReader(self._bounded, _BUFFER)
        self.wfile = io.BufferedWriter(peer.socket.makefile("wb", 0), _BUFFER)
        self.client_address = ("", 0)
        self.close_connection = False
        # The base class needs these for an error that occurs before the request line is parsed.
        self.command, self.requestline, self.request_version = "", "", self.protocol_version

    def serve(self) -> None:
        """Answer requests until the peer closes the connection or exceeds a limit."""
        with contextlib.closing(self.wfile):
            while not self.close_connection:
                self._peer.set_state(ConnectionState.IDLE)
                if self._wait_for_request():
                    self.handle_one_request()

    def _wait_for_request(self) -> bool:
        limits, bounded = self._shared.limits, self._bounded
        bounded.deadline = time.monotonic() + limits.idle
        if not self._has_buffered_bytes() and not self._peer.is_readable(limits.idle):
            raise TimeoutError
        # Before a byte is read, so that the limiter of connections sees either the byte or this.
        self._started = time.monotonic()
        self._peer.set_state(ConnectionState.WAITING)
        bounded.deadline, bounded.remaining = self._started + limits.request, limits.head
        if not self._reader.peek(1):
            self.close_connection = True
            return False
        return True

    def _has_buffered_bytes(self) -> bool:
        """Return True if bytes of the next request were read together with the previous one."""
        self._bounded.remaining = 0
        try:
            return bool(self._peer.socket.pending() or self._reader.peek(1))
        except _TooManyBytes:
            return False

    def handle_one_request(self) -> None:
        """Answer one request, also one with too many headers."""
        try:
            super().handle_one_request()
        except _TooManyBytes:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def do_POST(self) -> None:
        if self.path.partition("?")[0] != ADMISSION_PATH:
            self._refuse(HTTPStatus.NOT_FOUND, f"only {ADMISSION_PATH} is served here")
            return
        if self.headers.get_content_type() != "application/json":
            problem = "the content type must be application/json"
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, problem)
            return
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") or not lengths:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is required")
        elif len(lengths) > 1 or not lengths[0].isascii() or not lengths[0].isdigit():
            self._refuse(HTTPStatus.BAD_REQUEST, "Content-Length must be one number")
        elif len(lengths[0]) > 9 or int(lengths[0]) > self._shared.limits.body:  # noqa: PLR2004
            problem = f"the body has more than {self._shared.limits.body} bytes"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
        else:
            self._answer_review(int(lengths[0]))

    def _answer_review(self, length: int) -> None:
        is_large = length > self._shared.limits.large_body_threshold
        timeout = max(0.0, self._bounded.deadline - time.monotonic())
        if is_large and not self._shared.large_bodies.acquire(timeout=timeout):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "busy with other requests of this size")
            return
        try:
            self._bounded.remaining = length
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                return
            self._peer.set_state(ConnectionState.ANSWERING)
            with self._shared.handler_lock:
                response = self._shared.handler(body)
        finally:
            if is_large:
                self._shared.large_bodies.release()
        self._send(response)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send an error of the base class without its `message`, which may quote the request."""
        del message, explain
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._refuse(status, status.phrase)

    def _refuse(self, status: HTTPStatus, problem: str) -> None:
        """Answer without reading the body; the connection cannot be used after that."""
        self.close_connection = True
        self._send(error_response(status, problem))
        # If unread bytes remain at the close, the kernel discards our answer.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._peer.socket, socket.SHUT_WR)
            self._bounded.deadline = time.monotonic() + self._shared.limits.discard
            self._bounded.remaining = 2 * self._shared.limits.body
            while self._bounded.readinto(bytearray(_BUFFER)):
                pass

    def _send(self, response: ReviewResponse) -> None:
        if self._shared.draining.is_set():
            self.close_connection = True
        # For a version that it could not parse, the base class would omit status and headers.
        self.request_version = self.protocol_version
        self.send_response(response.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(response.body)))
        if response.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST")
        if response.status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(response.body)
        self._peer.socket.settimeout(max(0.01, self._bounded.deadline - time.monotonic()))
        self.wfile.flush()
        self._shared.metrics.count(response.result)
        self._shared.metrics.seconds.observe(time.monotonic() - self._started)

    def handle_expect_100(self) -> bool:
        """Send "100 Continue" at once, because the client waits for it."""
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def log_message(self, *_: object) -> None:
        """Log nothing: requests are counted instead."""
