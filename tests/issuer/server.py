"""A server whose connections can have faults, and which closes all of them when it stops."""

import contextlib
import socket
import struct
import threading
from collections import deque
from http import HTTPStatus
from typing import Any

from csidriver.demo.http_messages import HttpReply, HttpRequest
from csidriver.demo.server import IssuerHandler, IssuerServer
from tests.issuer.endpoints import PolicyEndpoints
from tests.issuer.faults import (
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
from tests.issuer.policy import PolicyOutcome

_LINGER_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, zero seconds: close() sends RST


class FaultyHandler(IssuerHandler):
    """Sends the reply of an endpoint or of a fault, and demands a length of every body."""

    server: "FaultyServer"

    def _serve(self) -> None:
        if self.command == "POST" and "Content-Length" not in self.headers:
            self.close_connection = True
            self._send(HttpReply(HTTPStatus.LENGTH_REQUIRED, {"Connection": "close"}))
        else:
            super()._serve()

    do_GET = do_POST = _serve  # noqa: N815 - http.server looks its methods up by these names

    def _answer(self, request: HttpRequest) -> None:
        endpoints, faults = self.server.endpoints, self.server.faults
        if not endpoints.is_token_request(request):
            super()._answer(request)
            return
        try:
            fault = faults.popleft()
        except IndexError:
            fault = None
        stopped = isinstance(fault, Delay) and self.server.stopping.wait(fault.seconds)
        if stopped or isinstance(fault, DropBefore):
            endpoints.log_unhandled(request, PolicyOutcome.DROPPED_BEFORE)
            self.close_connection = True
        elif isinstance(fault, StatusReply | Redirect):
            endpoints.log_unhandled(request, PolicyOutcome.ANSWERED_BEFORE)
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


class FaultyServer(IssuerServer):
    """Accepts connections; `stop` closes all of them."""

    daemon_threads = False  # server_close() joins them
    handler = FaultyHandler

    endpoints: PolicyEndpoints

    def __init__(self, address: tuple[str, int], faults: deque[Fault]) -> None:
        self.faults = faults
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address)

    def stop(self) -> None:
        """Stop accepting, close every connection, wait for their threads."""
        self.stopping.set()
        self.shutdown()
        with self._connections_lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

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
