"""How often and how much authorization servers are asked (docs/protocol.md section 5)."""

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
    """One server's gate, for metrics. `allowed` is requests per second, `demanded` a count."""

    issuer: str
    state: BreakerState
    allowed: float
    demanded: int
    in_flight: int
    waiting: int


class RateLimiter:
    """The gates of all servers, by the issuer's name; safe to share between threads.

    `now` is a clock that never jumps, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._limits: dict[str, tuple[Issuer, IssuerLimits]] = {}

    def acquire(self, issuer: Issuer, ref: SourceRef, client: Client) -> SlotDecision:
        """Whether an exchange may start now. A slot is taken if so; `heard` gives it back."""
        with self._lock:
            now = self._now()
            _, limits = self._limits.get(issuer.name, (None, None))
            if limits is None:
                self._drop_unused(now)
                limits = IssuerLimits(issuer.name)
            self._limits[issuer.name] = issuer, limits
            return limits.acquire(issuer, ref, _client_key(client), now)

    def release(self, issuer: Issuer, client: Client) -> None:
        """Nothing was sent after all."""
        with self._lock:
            self._limits[issuer.name][1].release(_client_key(client))

    def record_outcome(
        self, issuer: Issuer, ref: SourceRef, client: Client, outcome: TokenResponse
    ) -> IssuerHealth | None:
        """What was sent is over; how the server is now, if that has changed."""
        with self._lock:
            _, limits = self._limits[issuer.name]
            before = limits.health
            limits.record_outcome(ref, _client_key(client), outcome, self._now())
            after = limits.health
        return None if after is before else after

    def reports_for_all_tokens(self, name: str) -> bool:
        """Whether trouble of this issuer was told for all of its tokens, not long ago."""
        with self._lock:
            _, limits = self._limits.get(name, (None, None))
            return limits is not None and limits.reports_for_all_tokens(self._now())

    def record_probe(self, issuer: Issuer, *, alive: bool) -> None:
        """The sign of life that `ask` wanted is there, or is not."""
        with self._lock:
            _, limits = self._limits[issuer.name]
            limits.breaker.record_probe(self._now(), alive=alive)

    def loads(self) -> list[IssuerLoad]:
        """All gates."""
        with self._lock:
            return [
                IssuerLoad(
                    issuer=issuer.name,
                    state=gate.breaker.state,
                    allowed=issuer.rate * gate.rate_factor,
                    demanded=gate.demanded,
                    in_flight=gate.in_flight,
                    waiting=gate.waiting,
                )
                for issuer, gate in self._limits.values()
            ]

    def _drop_unused(self, now: float) -> None:
        unused = [name for name, (_, gate) in self._limits.items() if gate.is_unused(now)]
        for name in unused:
            del self._limits[name]


def _client_key(client: Client) -> str:
    """Whose requests a server counts: other credentials are another client."""
    return f"{client.client_id}/{client.client_secret.hash()}"
