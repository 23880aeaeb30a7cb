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
        self._gates: dict[str, tuple[Issuer, IssuerLimits]] = {}

    def acquire(self, issuer: Issuer, ref: SourceRef, client: Client) -> SlotDecision:
        """Whether an exchange may start now. A slot is taken if so; `heard` gives it back."""
        with self._lock:
            now = self._now()
            _, gate = self._gates.get(issuer.name, (None, None))
            if gate is None:
                self._forget(now)
                gate = IssuerLimits(issuer.name)
            self._gates[issuer.name] = issuer, gate
            return gate.acquire(issuer, ref, _name(client), now)

    def release(self, issuer: Issuer, client: Client) -> None:
        """Nothing was sent after all."""
        with self._lock:
            self._gates[issuer.name][1].release(_name(client))

    def record_outcome(
        self, issuer: Issuer, ref: SourceRef, client: Client, outcome: TokenResponse
    ) -> IssuerHealth | None:
        """What was sent is over; how the server is now, if that has changed."""
        with self._lock:
            _, gate = self._gates[issuer.name]
            before = gate.trouble
            gate.record_outcome(ref, _name(client), outcome, self._now())
            after = gate.trouble
        return None if after is before else after

    def rate_shares(self, name: str) -> bool:
        """Whether trouble of this issuer was told for all of its tokens, not long ago."""
        with self._lock:
            _, gate = self._gates.get(name, (None, None))
            return gate is not None and gate.set_rate_factor(self._now())

    def probed(self, issuer: Issuer, *, alive: bool) -> None:
        """The sign of life that `ask` wanted is there, or is not."""
        with self._lock:
            _, gate = self._gates[issuer.name]
            gate.breaker.record_probe(self._now(), alive=alive)

    def loads(self) -> list[IssuerLoad]:
        """All gates."""
        with self._lock:
            return [
                IssuerLoad(
                    issuer=issuer.name,
                    state=gate.breaker.state,
                    allowed=issuer.rate * gate.share,
                    demanded=gate.demanded,
                    in_flight=gate.in_flight,
                    waiting=gate.waiting,
                )
                for issuer, gate in self._gates.values()
            ]

    def _forget(self, now: float) -> None:
        gone = [name for name, (_, gate) in self._gates.items() if gate.idle(now)]
        for name in gone:
            del self._gates[name]


def _name(client: Client) -> str:
    """Whose requests a server counts: other credentials are another client."""
    return f"{client.client_id}/{client.client_secret.hash()}"
