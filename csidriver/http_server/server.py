"""HTTP server with one thread per connection and a limit on connections, with TLS or without.

TLS handshakes run in those threads, never in the accepting thread: there, one silent peer would
block all others.
"""

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable

from csidriver.http_server.connections import Connection, ConnectionLimiter
from csidriver.http_server.request_handler import HttpLimits, RequestHandler
from csidriver.listener import listen

log = logging.getLogger(__name__)

_STOP_TIMEOUT = 2.0  # seconds for requests in progress
_ACCEPT_PAUSE = 0.05  # seconds after a failed accept: out of descriptors or memory

TlsContextProvider = Callable[[], ssl.SSLContext | None]


class HttpServer:
    """Listens from its construction, answers between `start` and `stop`.

    `tls_context` is called for each connection, so that certificates change without a restart.
    While it returns None, new connections are closed.
    """

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[RequestHandler],
        limits: HttpLimits,
        tls_context: TlsContextProvider | None = None,
    ) -> None:
        self._listener = listen(address)
        # Where it serves; `::` is all addresses.
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self.limits = limits
        # When it is set, every answer closes its connection: clients go to other replicas.
        self.draining = threading.Event()
        self._handler = handler
        self._tls_context = tls_context
        self._connections = ConnectionLimiter(limits.connections, limits.max_wait)
        self._stopped = threading.Event()
        name = f"http-{self.address[1]}"
        self._thread = threading.Thread(target=self._accept, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def count_connections(self) -> int:
        return len(self._connections)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting connections, finish requests in progress, and return."""
        self.draining.set()
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self._connections.close(_STOP_TIMEOUT)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                self._stopped.wait(_ACCEPT_PAUSE)
                continue
            try:
                self._start_connection(accepted)
            except (OSError, RuntimeError):  # the peer has closed, or no thread can be started
                accepted.close()

    def _start_connection(self, accepted: socket.socket) -> None:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls_context is not None:
            context = self._tls_context()
            if context is None:
                accepted.close()
                return
            accepted = context.wrap_socket(
                accepted, server_side=True, do_handshake_on_connect=False
            )
        connection = Connection(accepted)
        if not self._connections.add(connection):
            accepted.close()
            return
        try:
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except RuntimeError:
            self._connections.remove(connection)
            accepted.close()
            raise

    def _serve(self, connection: Connection) -> None:
        connected = connection.socket
        try:
            if isinstance(connected, ssl.SSLSocket):
                connected.settimeout(self.limits.handshake)
                connected.do_handshake()
            self._handler(connection, self).serve()
        except OSError:
            pass  # the peer's fault
        except Exception:
            log.exception("a connection failed")
        finally:
            self._connections.remove(connection)
            connected.close()
