"""The limits of all authorization servers (docs/protocol.md section 5)."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.refresher.circuit_breaker import BreakerState
from csidriver.refresher.issuer_limits import IssuerHealth, IssuerLimits, SlotDecision


@dataclass(frozen=True, slots=True)
class IssuerLoad:
    """The load of one server, for metrics. `allowed` is requests per second, `demanded` a count."""

    issuer: str
    state: BreakerState
    allowed: float
    demanded: int
    in_flight: int
    waiting: int


class RateLimiter:
    """The limits of all servers by the issuer's name. Thread-safe; `now` is a monotonic clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._limits: dict[str, tuple[Issuer, IssuerLimits]] = {}

    def acquire(self, issuer: Issuer, ref: SourceRef, client: Client) -> SlotDecision:
        """Take a slot, or say when to ask again; `record_outcome` or `release` frees the slot."""
        with self._lock:
            now = self._now()
            known, limits = self._limits.get(issuer.name) or (issuer, IssuerLimits(issuer.name))
            if known != issuer:
                limits.forget_refusals()
            self._limits[issuer.name] = issuer, limits
            return limits.acquire(issuer, ref, _client_key(ref, client), now)

    def next_turn(self, name: str) -> tuple[SourceRef | None, float]:
        """Return the token whose turn it is, or None and the seconds until the next turn."""
        with self._lock:
            known = self._limits.get(name)
            return known[1].next_turn(known[0], self._now()) if known else (None, math.inf)

    def release(self, issuer: Issuer, ref: SourceRef, client: Client) -> None:
        with self._lock:
            self._limits[issuer.name][1].release(ref, _client_key(ref, client))

    def record_outcome(
        self, issuer: Issuer, ref: SourceRef, client: Client, outcome: TokenResponse
    ) -> IssuerHealth | None:
        """Free a slot after a request; return the health of the server if it has changed."""
        with self._lock:
            _, limits = self._limits[issuer.name]
            before = limits.health
            limits.record_outcome(ref, _client_key(ref, client), outcome, self._now())
            return None if limits.health is before else limits.health

    def record_late_reply(self, issuer: Issuer, ref: SourceRef) -> IssuerHealth | None:
        """Note that a server answers, though late; return its health if it has changed."""
        with self._lock:
            _, limits = self._limits[issuer.name]
            before = limits.health
            limits.breaker.record_outcome(ref, self._now(), answered=True)
            return None if limits.health is before else limits.health

    def reports_for_all_tokens(self, name: str) -> bool:
        """Return True if a report about the issuer stands for the failures of its tokens."""
        with self._lock:
            _, limits = self._limits.get(name, (None, None))
            return limits is not None and limits.reports_for_all_tokens(self._now())

    def record_probe(self, issuer: Issuer, *, alive: bool) -> None:
        """Note the result of the probe that `acquire` has asked for."""
        with self._lock:
            _, limits = self._limits[issuer.name]
            limits.breaker.record_probe(self._now(), alive=alive)

    def loads(self) -> list[IssuerLoad]:
        with self._lock:
            return [
                IssuerLoad(
                    issuer=issuer.name,
                    state=limits.breaker.state,
                    allowed=issuer.rate * limits.rate_factor,
                    demanded=limits.demanded,
                    in_flight=limits.in_flight,
                    waiting=limits.waiting,
                )
                for issuer, limits in self._limits.values()
            ]


def _client_key(ref: SourceRef, client: Client) -> str:
    """Return whose requests are limited together: other credentials are another client.

    What a server says of a client that another namespace has named is not believed.
    """
    secrets = (client.client_secret.hash(), client.private_key.hash())
    return "/".join((ref.namespace, client.client_id, *secrets))
