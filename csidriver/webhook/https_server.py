"""HTTPS server for kube-apiserver with one thread per connection and a limit on connections.

TLS handshakes run in those threads, never in the accepting thread: there, one silent peer would
block all others.
"""

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable

from csidriver.listener import listen
from csidriver.webhook.connections import Connection, ConnectionLimiter
from csidriver.webhook.http_handler import AdmissionHandler, HttpLimits, ServerContext
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.review_handler import Handler

log = logging.getLogger(__name__)

_STOP_TIMEOUT = 2.0  # seconds for requests in progress
_ACCEPT_PAUSE = 0.05  # seconds after a failed accept: out of descriptors or memory

TlsContextProvider = Callable[[], ssl.SSLContext | None]


class AdmissionServer:
    """Listens from its construction, answers between `start` and `stop`.

    `tls_context` is called for each connection, so that certificates change without a restart.
    While it returns None, new connections are closed.
    """

    def __init__(
        self,
        address: tuple[str, int],
        tls_context: TlsContextProvider,
        handler: Handler,
        metrics: WebhookMetrics,
        limits: HttpLimits | None = None,
    ) -> None:
        limits = limits or HttpLimits()
        self._listener = listen(address)
        self.port: int = self._listener.getsockname()[1]
        self._tls_context = tls_context
        self._limits = limits
        self._draining = threading.Event()
        self._shared = ServerContext(
            handler,
            limits,
            metrics,
            large_bodies=threading.BoundedSemaphore(limits.large_bodies),
            handler_lock=threading.Lock(),
            draining=self._draining,
        )
        self._connections = ConnectionLimiter(limits.connections, limits.max_wait)
        metrics.connections.set_function(lambda: float(len(self._connections)))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="admission", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def drain(self) -> None:
        """Close each connection after its next answer, so that clients go to other replicas."""
        self._draining.set()

    def stop(self) -> None:
        """Stop accepting connections, finish requests in progress, and return."""
        self.drain()
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
        tls_context = self._tls_context()
        if tls_context is None:
            accepted.close()
            return
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = tls_context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        connection = Connection(secured)
        if not self._connections.add(connection):
            secured.close()
            return
        try:
            threading.Thread(
                target=self._serve, args=(connection,), name="admission-connection", daemon=True
            ).start()
        except RuntimeError:
            self._connections.remove(connection)
            secured.close()
            raise

    def _serve(self, connection: Connection) -> None:
        secured = connection.socket
        try:
            secured.settimeout(self._limits.handshake)
            secured.do_handshake()
            AdmissionHandler(connection, self._shared).serve()
        except OSError:
            pass  # the peer's fault
        except Exception:
            log.exception("a connection failed")
        finally:
            self._connections.remove(connection)
            secured.close()
