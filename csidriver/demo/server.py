"""Sockets and threads of the strict authorization server, and faults of its connections."""

import contextlib
import logging
import re
import socket
import socketserver
import struct
import sys
import threading
from collections import deque
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from csidriver.demo.endpoints import IssuerEndpoints
from csidriver.demo.faults import (
    Delay,
    Drip,
    DropAfter,
    DropBefore,
    Fault,
    Redirect,
    StatusReply,
    Truncate,
    with_fault,
)
from csidriver.demo.http_messages import HttpReply, HttpRequest
from csidriver.demo.presentation_log import Outcome

_log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024  # bytes; a refresh request is below 8 KiB even with large tokens
_MAX_DRAIN = 1024 * 1024  # bytes; an unread body would reset the connection before the reply
_LENGTH = re.compile(r"[0-9]{1,18}")
_LINGER_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, zero seconds: close() sends RST


class IssuerServer(ThreadingHTTPServer):
    """Accepts connections; `stop` closes all of them."""

    daemon_threads = False  # server_close() joins them
    request_queue_size = 128  # a burst of test threads must not meet a full backlog

    endpoints: IssuerEndpoints
    faults: deque[Fault]

    def __init__(self, address: tuple[str, int]) -> None:
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address, _Handler)

    def attach(self, endpoints: IssuerEndpoints, faults: deque[Fault]) -> None:
        """Set what to serve; not in the constructor, because URLs contain the port bound there."""
        self.endpoints = endpoints
        self.faults = faults

    def stop(self) -> None:
        """Stop accepting, close every connection, wait for their threads."""
        self.stopping.set()
        self.shutdown()
        with self._connections_lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def server_bind(self) -> None:
        """Bind without HTTPServer's reverse name lookup, which can hang."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection; send no FIN if its handler asked for a reset."""
        with self._connections_lock:
            self._connections.discard(request)
        size = len(_LINGER_RESET)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, size) == _LINGER_RESET:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log why a connection failed: as an error, unless the client closed it."""
        level = logging.DEBUG if isinstance(sys.exception(), ConnectionError) else logging.ERROR
        _log.log(level, "connection failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """Reads the requests of one connection and sends the reply of an endpoint or a fault."""

    server: IssuerServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Drip sends single bytes

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: request lines may contain secrets."""

    def _serve(self) -> None:
        body = self._read_body()
        if body is None:
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        path, _, query = self.path.partition("?")
        request = HttpRequest(self.command, path, query, headers, body)
        if self.server.endpoints.is_token_request(request):
            self._serve_token_request(request)
        else:
            self._send(self.server.endpoints.handle(request))

    # http.server looks its methods up by these names.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _read_body(self) -> bytes | None:
        """Return the whole body, or None if it was refused or the client closed."""
        announced = self.headers.get("Content-Length", "" if self.command == "POST" else "0")
        if "Transfer-Encoding" in self.headers or not announced:
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
            return None
        if not _LENGTH.fullmatch(announced):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return None
        length = int(announced)
        if length > MAX_BODY:
            self.rfile.read(min(length, _MAX_DRAIN))
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        body = self.rfile.read(length)
        if len(body) == length:
            return body
        self.close_connection = True
        return None

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._send(HttpReply(status, {"Connection": "close"}))

    def _serve_token_request(self, request: HttpRequest) -> None:
        endpoints, faults = self.server.endpoints, self.server.faults
        try:
            fault = faults.popleft()
        except IndexError:
            fault = None
        stopped = isinstance(fault, Delay) and self.server.stopping.wait(fault.seconds)
        if stopped or isinstance(fault, DropBefore):
            endpoints.log_unhandled(request, Outcome.DROPPED_BEFORE)
            self.close_connection = True
        elif isinstance(fault, StatusReply | Redirect):
            endpoints.log_unhandled(request, Outcome.ANSWERED_BEFORE)
            self._send(fault.reply())
        else:
            self._send_with(with_fault(endpoints.handle(request), fault), fault)

    def _send_with(self, reply: HttpReply, fault: Fault | None) -> None:
        match fault:
            case DropAfter():
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
                self.close_connection = True
            case Truncate(n):
                self.wfile.write(reply.head() + reply.body[:n])
                self.close_connection = True
            case Drip(seconds_per_byte):
                self._drip(reply.head() + reply.body, seconds_per_byte)
            case _:
                self._send(reply)

    def _drip(self, data: bytes, seconds_per_byte: float) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            if self.server.stopping.wait(seconds_per_byte):
                self.close_connection = True
                return

    def _send(self, reply: HttpReply) -> None:
        self.wfile.write(reply.head() + reply.body)
