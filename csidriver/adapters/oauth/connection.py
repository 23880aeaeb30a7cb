"""The connection of one request: aborted at its deadline; knows whether bytes can have been sent.

The deadline is a timer, because a server that sends single bytes would extend per-read timeouts
for ever.
"""

import contextlib
import socket
import ssl
import sys
import threading
import time
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from csidriver.adapters.oauth.happy_eyeballs import connect
from csidriver.adapters.oauth.response_head import Response


class AbortableConnection:
    """Aborts its socket at the deadlines of `time.monotonic`; sets `sent` when established.

    `connect_deadline` is for the connection and its TLS, `deadline` for all.
    """

    def __init__(
        self, connect_deadline: float, deadline: float, sent: threading.Event | None = None
    ) -> None:
        self.is_established = False
        self.is_aborted = False
        self._connect_deadline, self._deadline = connect_deadline, deadline
        self._sent = sent
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def attach(self, connected: socket.socket) -> None:
        """Remember the socket, so that the deadline ends the TLS handshake too."""
        with self._lock:
            self._raise_if_aborted()
            # A duplicate, because TLS takes the descriptor away from the socket that it wraps.
            self._socket = connected.dup()

    def mark_established(self) -> None:
        """Note that from now on bytes of the request may be sent."""
        with self._lock:
            self._raise_if_aborted()
            self.is_established = True
            self._timer.cancel()
            self._start_timer(self._deadline)
            if self._sent is not None:
                self._sent.set()

    def _raise_if_aborted(self) -> None:
        if self.is_aborted:
            raise TimeoutError("the deadline has passed")

    def _abort(self) -> None:
        with self._lock:
            self.is_aborted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _start_timer(self, deadline: float) -> None:
        self._timer = threading.Timer(deadline - time.monotonic(), self._abort)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        self._start_timer(self._connect_deadline)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._timer.cancel()
            if self._socket is not None:
                self._socket.close()
                self._socket = None


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
        super().__init__()
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
