"""One connection to the API server, which any thread may cut.

No foreign exception leaves, and none stays attached to ours: it may hold a piece of a body.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from csidriver.errors import StoreUnavailable

_CHUNK = 16384
# A peer that is gone without a word is noticed after half a minute, whether bytes of ours are on
# the way (user timeout, milliseconds) or not (probes, seconds).
SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
]
_T = TypeVar("_T")


class Line:
    """What one operation says to the API server, over one connection at a time."""

    def __init__(self, server: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(server)
        self._server = server
        self._prefix = parts.path.rstrip("/")
        self._lock = threading.Lock()
        self._cut = False
        self._socket: socket.socket | None = None
        options: dict[str, Any] = {"hold": self._hold, "socket_options": SOCKET_OPTIONS}
        options |= {"maxsize": 1, "retries": False}
        host = str(parts.hostname)
        if parts.scheme == "https":
            self._pool: HTTPConnectionPool = _SecurePool(
                host, parts.port or 443, ssl_context=context, **options
            )
        else:
            self._pool = _Pool(host, parts.port or 80, **options)

    def get(
        self, target: str, headers: Mapping[str, str], timeout: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and read the head of its answer, whatever the status. To be closed."""
        return self._translated(
            lambda: self._pool.urlopen(
                "GET",
                self._prefix + target,
                headers=headers,
                timeout=timeout,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        )

    def chunks(
        self, response: urllib3.BaseHTTPResponse, *, silence: float | None = None
    ) -> Iterator[bytes]:
        """The body as it comes, until its proper end, or until it has been silent for so long."""
        read = partial(response.read1, _CHUNK)
        connection = response.connection
        if silence is not None and isinstance(connection, HTTPConnection) and connection.sock:
            connection.sock.settimeout(silence)
            read = partial(_unless_silent, read)
        while chunk := self._translated(read):
            yield chunk

    def cut(self) -> None:
        """End whatever this line is doing, and let it do nothing more."""
        with self._lock:
            self._cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection."""
        self._pool.close()
        with self._lock:
            self._cut = True
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _hold(self, connected: socket.socket) -> None:
        with self._lock:
            if self._cut:
                raise ConnectionAbortedError
            if self._socket is not None:
                self._socket.close()
            # A duplicate: TLS takes the descriptor away from the socket it wraps, and urllib3
            # closes it when it likes, while `cut` may be using it.
            self._socket = connected.dup()

    def _translated(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            reason = _reason(error)
        # Outside of the handler, or Python would attach the foreign error to ours.
        raise StoreUnavailable(f"API server {self._server}: {reason}")


class _Connection(HTTPConnection):
    """A connection that shows its socket to its line before it is used."""

    def __init__(self, *args: Any, hold: Callable[[socket.socket], None], **options: Any) -> None:
        self._hold = hold
        super().__init__(*args, **options)

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        try:
            self._hold(connected)
        except OSError:
            connected.close()
            raise
        return connected


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _unless_silent(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except urllib3.exceptions.ReadTimeoutError:
        return b""


def _reason(error: Exception) -> str:
    """A word on a failure, without its text."""
    links: list[object] = [error]
    while isinstance(link := links[-1], BaseException) and len(links) < 10:  # noqa: PLR2004
        inner = link.args[-1] if link.args else None
        links.append(getattr(link, "reason", None) or link.__cause__ or link.__context__ or inner)
    for kind, reason in _REASONS.items():
        if any(isinstance(link, kind) for link in links):
            return reason
    return "the connection failed"


_REASONS: dict[type[BaseException], str] = {
    ssl.SSLCertVerificationError: "its certificate is not trusted",
    ssl.SSLError: "the TLS connection failed",
    socket.gaierror: "its name cannot be resolved",
    urllib3.exceptions.NameResolutionError: "its name cannot be resolved",
    ConnectionRefusedError: "connection refused",
    urllib3.exceptions.TimeoutError: "no answer in time",
    TimeoutError: "no answer in time",
}
