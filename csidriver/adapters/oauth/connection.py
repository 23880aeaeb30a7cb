"""The one connection of an exchange: cut at its deadline, and honest about how far it got."""

import contextlib
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection


class AbortableConnection:
    """What may be known of a connection: `stands` once it can carry bytes, `cut` at the deadline.

    `deadline` is an instant of `time.monotonic`. Per-read timeouts would not do: a server that
    drips holds them up for ever.
    """

    def __init__(self, deadline: float) -> None:
        self.is_established = False
        self.is_aborted = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(deadline - time.monotonic(), self._abort)
        self._timer.daemon = True

    def attach(self, connected: socket.socket) -> None:
        """Remember the socket, so that the deadline ends the TLS handshake too."""
        with self._lock:
            self._refuse_if_late()
            # A duplicate: TLS takes the descriptor away from the socket it wraps.
            self._socket = connected.dup()

    def mark_established(self) -> None:
        """From here on something may have been sent."""
        with self._lock:
            self._refuse_if_late()
            self.is_established = True

    def _refuse_if_late(self) -> None:
        if self.is_aborted:
            raise TimeoutError("the deadline has passed")

    def _abort(self) -> None:
        with self._lock:
            self.is_aborted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


class _Connection(HTTPConnection):
    """A connection that tells its line how far it got."""

    def __init__(self, *args: Any, abortable: AbortableConnection, **options: Any) -> None:
        self._abortable = abortable
        super().__init__(*args, **options)

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
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
    """The same over TLS."""


class AbortableAdapter(HTTPAdapter):
    """Makes connections on one line, with one TLS context (None for plain HTTP); no retries."""

    def __init__(self, abortable: AbortableConnection, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self._abortable = abortable
        self._context = context

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """The pool whose only connection will be on our line."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.conn_kw["abortable"] = self._abortable
        if pool.scheme == "https":
            pool.ConnectionCls = _SecureConnection
            pool.conn_kw["ssl_context"] = self._context
        else:
            pool.ConnectionCls = _Connection
        return pool

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """A proxy reached over TLS is trusted like the issuer."""
        if proxy.lower().startswith("https:"):
            options["proxy_ssl_context"] = self._context
        return super().proxy_manager_for(proxy, **options)

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Leave authorities to the context: what is named here would be added to it each time."""
        conn.cert_reqs = "CERT_REQUIRED"
