"""A connection that is aborted at a deadline, and knows whether bytes can have been sent.

A thread watches the deadlines, because a server that sends single bytes would extend per-read
timeouts for ever.
"""

import contextlib
import math
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.wait import wait_for_read

from csidriver.adapters.oauth.happy_eyeballs import connect
from csidriver.adapters.oauth.response_head import Response


class AbortableConnection:
    """Aborts its socket at the deadlines of the request that it carries.

    `is_established`: bytes of that request may have been sent. `is_open`: it can carry another one.
    `pending`: the bytes that TLS has decrypted and nobody has read.
    """

    def __init__(self) -> None:
        self.is_established = False
        self.is_aborted = False
        self.is_open = False
        self.pending: Callable[[], int] = int
        self.deadline = self._last_deadline = 0.0
        self._sent: threading.Event | None = None
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    @contextlib.contextmanager
    def carry(
        self, connect_deadline: float, deadline: float, sent: threading.Event | None = None
    ) -> Iterator[None]:
        """Carry a request until deadlines of `time.monotonic`; set `sent` when it may be sent.

        `connect_deadline` is for the connection and its TLS, `deadline` for all.
        """
        self.deadline, self._last_deadline, self._sent = connect_deadline, deadline, sent
        _WATCHDOG.watch(self)
        try:
            if self.is_established:
                self.mark_established()
            yield
        finally:
            _WATCHDOG.forget(self)

    def attach(self, connected: socket.socket) -> None:
        """Remember the socket, so that the deadline ends the TLS handshake too."""
        self.close()
        with self._lock:
            self._raise_if_aborted()
            # A duplicate, because TLS takes the descriptor away from the socket that it wraps.
            self._socket = connected.dup()

    def mark_established(self) -> None:
        """Note that from now on bytes of the request may be sent."""
        with self._lock:
            self._raise_if_aborted()
            self.is_established = self.is_open = True
            self.deadline = self._last_deadline
            if self._sent is not None:
                self._sent.set()

    def is_dropped(self) -> bool:
        """Return True if the server has closed the connection, or speaks unasked."""
        with self._lock:
            if self._socket is None or self.pending():
                return True
            return wait_for_read(self._socket, timeout=0.0)

    def close(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _raise_if_aborted(self) -> None:
        if self.is_aborted:
            raise TimeoutError("the deadline has passed")

    def abort_if_late(self) -> bool:
        """Abort the socket if the deadline has passed; return True then."""
        with self._lock:
            if time.monotonic() < self.deadline:
                return False
            self.is_aborted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
            return True


class _Watchdog:
    """Aborts connections at their deadlines, in one thread: one for each would cost more CPU."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: set[AbortableConnection] = set()
        self._wakes_at = math.inf
        self._runs = False

    def watch(self, connection: AbortableConnection) -> None:
        with self._changed:
            if not self._runs:
                threading.Thread(target=self._run, name="deadlines", daemon=True).start()
                self._runs = True
            self._watched.add(connection)
            if connection.deadline < self._wakes_at:
                self._changed.notify()

    def forget(self, connection: AbortableConnection) -> None:
        """Never abort a connection from now on."""
        with self._changed:
            self._watched.discard(connection)

    def _run(self) -> None:
        with self._changed:
            while True:
                self._watched = {each for each in self._watched if not each.abort_if_late()}
                # A deadline only moves to a later instant.
                self._wakes_at = min((each.deadline for each in self._watched), default=math.inf)
                pause = self._wakes_at - time.monotonic()
                self._changed.wait(min(max(pause, 0.0), threading.TIMEOUT_MAX))


_WATCHDOG = _Watchdog()


class _Connection(HTTPConnection):
    response_class = Response

    def __init__(self, *args: Any, abortable: AbortableConnection, **options: Any) -> None:
        self._abortable = abortable
        super().__init__(*args, **options)

    def _new_conn(self) -> socket.socket:
        # As urllib3 does in the method that this one replaces.
        sys.audit("http.client.connect", self, self.host, self.port)
        # urllib3 would give the whole time to the first address.
        connected = connect(
            self._dns_host, self.port, self.timeout or 0.0, self.socket_options or ()
        )
        try:
            self._abortable.attach(connected)
        except OSError:
            connected.close()
            raise
        return connected

    def connect(self) -> None:
        super().connect()
        self._abortable.mark_established()
        if isinstance(self.sock, ssl.SSLSocket):
            self._abortable.pending = self.sock.pending
        elif not isinstance(self.sock, socket.socket):
            self._abortable.is_open = False  # TLS within TLS cannot tell what is pending

    def close(self) -> None:
        # A response that ends the connection may still be read, so the socket stays attached.
        self._abortable.is_open = False
        super().close()


class _SecureConnection(_Connection, HTTPSConnection):
    def send(self, data: Any) -> None:
        """Say in the words of plain HTTP that the peer has closed: urllib3 then reads why."""
        try:
            super().send(data)
        except ssl.SSLEOFError as error:
            raise BrokenPipeError from error


class AbortableAdapter(HTTPAdapter):
    """Makes one connection, with a TLS context (None for plain HTTP); never retries."""

    def __init__(self, abortable: AbortableConnection, context: ssl.SSLContext | None) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._abortable = abortable
        self._context = context

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.conn_kw["abortable"] = self._abortable
        if pool.scheme == "https":
            pool.ConnectionCls = _SecureConnection
            pool.conn_kw["ssl_context"] = self._context
        else:
            pool.ConnectionCls = _Connection
        return pool

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Trust the issuer's CAs also for a proxy reached over TLS."""
        if proxy.lower().startswith("https:"):
            options["proxy_ssl_context"] = self._context
        return super().proxy_manager_for(proxy, **options)

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Verify with the context alone: CAs named here would be added to it each time."""
        conn.cert_reqs = "CERT_REQUIRED"
