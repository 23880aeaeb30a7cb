"""As little HTTP/2 as a unary gRPC call takes: what the plugin does, without a library of ours.

The grpcio client that stands in for kubelet takes as long as some of what is measured; kubelet's
is written in Go. Not a client for anything else: no flow control, and no status is decoded.
"""

import socket
import time
from pathlib import Path
from typing import Any, Self

from csidriver.errors import DriverError

# RFC 9113, sections 3.4 and 6; RFC 7541, section 6.2.2.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_LITERAL = b"\0"
_HEAD = 9


class Http2Client:
    """One connection to a plugin, one call at a time."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
        self._received = b""
        self._stream = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, method: str, request: Any) -> float:
        """Milliseconds from the request's last byte out to the last of the trailers in."""
        self._stream += 2
        message = request.SerializeToString()
        body = b"\0" + len(message).to_bytes(4) + message
        asked = _frame(_HEADERS, _END_HEADERS, self._stream, _headers(f"/csi.v1.Node/{method}"))
        asked += _frame(_DATA, _END_STREAM, self._stream, body)
        began = time.perf_counter()
        self._socket.sendall(asked)
        while not self._is_end(*self._frame()):
            """Settings and pings are answered in between."""
        return 1000 * (time.perf_counter() - began)

    def _is_end(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        if kind in {_RESET, _GOAWAY}:
            raise DriverError("the plugin refuses a call on the wire")
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            answer = payload if kind == _PING else b""
            self._socket.sendall(_frame(kind, _ACK, 0, answer))
        ends = kind in {_DATA, _HEADERS} and flags & _END_STREAM
        return bool(ends and stream == self._stream)

    def _frame(self) -> tuple[int, int, int, bytes]:
        head = self._take(_HEAD)
        payload = self._take(int.from_bytes(head[:3]))
        return head[3], head[4], int.from_bytes(head[5:]), payload

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            more = self._socket.recv(65536)
            if not more:
                raise DriverError("the plugin has closed the connection")
            self._received += more
        taken, self._received = self._received[:count], self._received[count:]
        return taken


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _headers(path: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
        "grpc-timeout": "30S",
    }
    return b"".join(_LITERAL + _text(name) + _text(value) for name, value in fields.items())


def _text(text: str) -> bytes:
    """Encode a string of less than 127 characters, without Huffman coding."""
    return bytes([len(text)]) + text.encode("ascii")
