"""HTTPS for kube-apiserver: a thread for each connection, and a bounded number of them.

Handshakes run in those threads, never in the one that accepts: one silent peer would keep out all.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable

from csidriver.webhook.connections import Connection, ConnectionLimiter
from csidriver.webhook.http_handler import AdmissionHandler, HttpLimits, ServerContext
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.review_handler import Handler

log = logging.getLogger(__name__)

_BACKLOG = 128
_STOP_TIMEOUT = 2.0  # seconds for what is being answered at the end
_ACCEPT_PAUSE = 0.05  # seconds after an accept that failed: descriptors, memory

TlsContextProvider = Callable[[], ssl.SSLContext | None]


class AdmissionServer:
    """Listens on `port` from its making on, answers between `start` and `stop`.

    `context` is asked for each connection, so that certificates change without a restart; while
    it has none, connections are closed.
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
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=_BACKLOG)
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
        self._connections = ConnectionLimiter(limits.connections, limits.max_wait, time.monotonic)
        metrics.connections.set_function(lambda: float(len(self._connections)))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="admission", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether connections are taken."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def drain(self) -> None:
        """Tell clients with each answer to connect anew next time, to another replica."""
        self._draining.set()

    def stop(self) -> None:
        """Take no more connections, finish what is being answered, and end."""
        self.drain()
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._connections.close(_STOP_TIMEOUT)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connected, _ = self._listener.accept()
            except OSError:
                self._stopped.wait(_ACCEPT_PAUSE)
                continue
            try:
                self._start_connection(connected)
            except (OSError, RuntimeError):  # the peer is gone, or there are no more threads
                connected.close()

    def _start_connection(self, connected: socket.socket) -> None:
        context = self._tls_context()
        if context is None:
            connected.close()
            return
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)
        guest = Connection(secured, time.monotonic())
        if not self._connections.add(guest):
            secured.close()
            return
        try:
            name = "admission-connection"
            threading.Thread(
                target=self._serve, args=(secured, guest), name=name, daemon=True
            ).start()
        except RuntimeError:
            self._connections.remove(guest)
            secured.close()
            raise

    def _serve(self, secured: ssl.SSLSocket, guest: Connection) -> None:
        try:
            secured.settimeout(self._limits.handshake)
            secured.do_handshake()
            AdmissionHandler(guest, self._shared).serve()
        except OSError:
            pass  # whatever a peer does is its own business
        except Exception:
            log.exception("a connection failed")
        finally:
            self._connections.remove(guest)
            secured.close()
