"""Connections that stay open between requests that may be repeated.

A server may close one at any instant, also while a request is under way. Such a request is sent
once more over a new connection, so nothing that must be sent only once may come here.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import urlsplit

from csidriver.adapters.oauth.http_client import (
    Deadlines,
    HttpClient,
    HttpRequest,
    HttpResponse,
    RequestFailed,
    tls_context,
)
from csidriver.adapters.oauth.tls_contexts import TlsContexts
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer

# Of one issuer. More requests at a time are rare, and each costs memory at the server, too.
MAX_KEPT = 4
# Seconds; some connections stay twice as long. Servers close after 60 and more.
IDLE_SECONDS = 30.0


@dataclass(eq=False, slots=True)
class _Kept:
    """A connection; `target` is all that another request must have in common with its last one."""

    client: HttpClient
    target: tuple[object, ...]
    idle_since: float = 0.0


class KeptConnections:
    """Idle connections, oldest first; each is used by one thread at a time."""

    def __init__(self, tls_contexts: TlsContexts, idle_seconds: float = IDLE_SECONDS) -> None:
        self._tls_contexts = tls_contexts
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._idle: list[_Kept] = []
        self._timer: threading.Timer | None = None

    def send(
        self, issuer: Issuer, url: str, make: Callable[[], HttpRequest], deadlines: Deadlines
    ) -> HttpResponse:
        """Send a request over a kept connection, or over a new one; raises RequestFailed.

        `make` is called for each send: servers take an assertion with a `jti` once.
        """
        context = tls_context(issuer, self._tls_contexts, url)
        # Requests of one issuer may differ in their scope.
        target = (replace(issuer, scope=""), context, urlsplit(url)[:2])
        kept = self._take(issuer.name, target)
        if kept is not None:
            try:
                return self._send_over(kept, make, deadlines)
            except RequestFailed as error:
                is_late = kept.client.connection.is_aborted or time.monotonic() >= deadlines.send
                if is_late or error.reason is not FailureReason.NO_ANSWER:
                    raise
        return self._send_over(_Kept(HttpClient(issuer, context), target), make, deadlines)

    def _send_over(
        self, kept: _Kept, make: Callable[[], HttpRequest], deadlines: Deadlines
    ) -> HttpResponse:
        is_kept = False
        try:
            response = kept.client.send(make(), deadlines)
            # Other statuses may leave the connection in disorder, or say that it is the wrong one.
            is_good = response.status == HTTPStatus.OK and kept.client.connection.is_open
            is_kept = is_good and self._keep(kept)
        finally:
            if not is_kept:
                kept.client.close()
        return response

    def _take(self, name: str, target: tuple[object, ...]) -> _Kept | None:
        """Return an idle connection to the target; close those that no request can use any more."""
        with self._lock:
            for kept in [kept for kept in reversed(self._idle) if kept.client.issuer.name == name]:
                self._idle.remove(kept)
                if kept.target == target and not kept.client.connection.is_dropped():
                    return kept
                kept.client.close()
        return None

    def _keep(self, kept: _Kept) -> bool:
        with self._lock:
            name = kept.client.issuer.name
            if sum(other.client.issuer.name == name for other in self._idle) >= MAX_KEPT:
                return False
            kept.idle_since = time.monotonic()
            self._idle.append(kept)
            if self._timer is None:
                self._close_later()
        return True

    def _close_later(self) -> None:
        self._timer = threading.Timer(self._idle_seconds, self._close_idle)
        self._timer.daemon = True
        self._timer.start()

    def _close_idle(self) -> None:
        """Close what nobody has used, for a connection costs memory at the server, too."""
        latest = time.monotonic() - self._idle_seconds
        with self._lock:
            self._timer = None
            while self._idle and self._idle[0].idle_since <= latest:
                self._idle.pop(0).client.close()
            if self._idle:
                self._close_later()
