"""Connections that stay open between requests that may be repeated.

A server may close one at any instant, also while a request is under way. Such a request is sent
once more over a new connection, so nothing that must be sent only once may come here.
"""

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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
# Seconds; servers and what is in front of them close after 60 and more.
IDLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Target:
    """All that must be the same for another request over the same connection."""

    issuer: Issuer
    context: ssl.SSLContext | None
    origin: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Kept:
    target: _Target
    client: HttpClient
    idle_since: float


class KeptConnections:
    """Idle connections by the name of their issuer; each is used by one thread at a time."""

    def __init__(self, tls_contexts: TlsContexts, idle_seconds: float = IDLE_SECONDS) -> None:
        self._tls_contexts = tls_contexts
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._idle: dict[str, list[_Kept]] = {}
        self._is_closing = False

    def send(
        self, issuer: Issuer, url: str, make: Callable[[], HttpRequest], deadlines: Deadlines
    ) -> HttpResponse:
        """Send a request over a kept connection, or over a new one; raises RequestFailed.

        `make` is called for each send: servers take an assertion with a `jti` once.
        """
        parts = urlsplit(url)
        context = tls_context(issuer, self._tls_contexts, url)
        # Requests of one issuer may differ in their scope.
        target = _Target(replace(issuer, scope=""), context, (parts.scheme, parts.netloc))
        kept = self._take(target)
        if kept is not None:
            try:
                return self._send_over(kept, target, make, deadlines)
            except RequestFailed as error:
                is_closed = error.reason is FailureReason.NO_ANSWER
                if kept.connection.is_aborted or not is_closed or _is_late(deadlines):
                    raise
        return self._send_over(HttpClient(issuer, context), target, make, deadlines)

    def _send_over(
        self,
        client: HttpClient,
        target: _Target,
        make: Callable[[], HttpRequest],
        deadlines: Deadlines,
    ) -> HttpResponse:
        is_kept = False
        try:
            response = client.send(make(), deadlines)
            is_kept = response.is_complete and client.connection.is_open
        finally:
            if not is_kept:
                client.close()
        if is_kept:
            self._keep(_Kept(target, client, time.monotonic()))
        return response

    def _take(self, target: _Target) -> HttpClient | None:
        """Return an idle connection to the target; close those that no request can use any more."""
        while True:
            with self._lock:
                idle = self._idle.get(target.issuer.name)
                if not idle:
                    return None
                kept = idle.pop()
            expired = kept.idle_since + self._idle_seconds <= time.monotonic()
            if kept.target == target and not expired and not kept.client.connection.is_dropped():
                return kept.client
            kept.client.close()

    def _keep(self, kept: _Kept) -> None:
        with self._lock:
            idle = self._idle.setdefault(kept.target.issuer.name, [])
            surplus = [] if len(idle) < MAX_KEPT else [idle.pop(0)]
            idle.append(kept)
            starts, self._is_closing = not self._is_closing, True
        for each in surplus:
            each.client.close()
        if starts:
            self._close_later()

    def _close_later(self) -> None:
        timer = threading.Timer(self._idle_seconds, self._close_idle)
        timer.daemon = True
        timer.start()

    def _close_idle(self) -> None:
        """Close what nobody has used, for a connection costs memory at the server, too."""
        latest = time.monotonic() - self._idle_seconds
        with self._lock:
            closed = [
                kept for idle in self._idle.values() for kept in idle if kept.idle_since <= latest
            ]
            self._idle = {
                name: used
                for name, idle in self._idle.items()
                if (used := [kept for kept in idle if kept.idle_since > latest])
            }
            self._is_closing = bool(self._idle)
            goes_on = self._is_closing
        for kept in closed:
            kept.client.close()
        if goes_on:
            self._close_later()


def _is_late(deadlines: Deadlines) -> bool:
    return time.monotonic() >= deadlines.send
