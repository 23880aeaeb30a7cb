"""A rate limiter with one issuer, and a clock that the test sets."""

from collections.abc import Iterable
from typing import Any

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.circuit_breaker import BreakerState
from csidriver.refresher.issuer_limits import IssuerHealth, SlotDecision
from csidriver.refresher.rate_limiter import RateLimiter

ANN, BEN = Client("ann", Sensitive("a")), Client("ben", Sensitive("b"))
OK = Success(TokenDocument({}))
UNREACHABLE, NO_ANSWER = Failure(FailureReason.UNREACHABLE), Failure(FailureReason.NO_ANSWER)
REFUSED = Failure(FailureReason.INVALID_CLIENT)
SEND_NOW = SlotDecision()


def ref(number: int) -> SourceRef:
    return SourceRef("ns", f"token-{number}")


def issuer(name: str = "demo", **options: Any) -> Issuer:
    return Issuer(name, token_endpoint="https://as.example/token", **options)


class LimiterBench:
    """A limiter, a clock that the test sets, and one issuer."""

    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        self.issuer = issuer(**options)
        self.limiter = RateLimiter(lambda: self.now)

    def acquire(self, number: int, client: Client = ANN) -> SlotDecision:
        return self.limiter.acquire(self.issuer, ref(number), client)

    def record(
        self, number: int, outcome: TokenResponse, client: Client = ANN
    ) -> IssuerHealth | None:
        return self.limiter.record_outcome(self.issuer, ref(number), client, outcome)

    def request(
        self, number: int, outcome: TokenResponse, client: Client = ANN
    ) -> IssuerHealth | None:
        """A request that may be sent at once."""
        assert self.acquire(number, client) == SEND_NOW
        health = self.record(number, outcome, client)
        self.now += 1.0
        return health

    def state(self) -> BreakerState:
        return self.limiter.loads()[0].state

    def open_breaker(self) -> None:
        for number in range(3):
            self.request(number, UNREACHABLE)
        self.now -= 1.0
        assert self.state() is BreakerState.OPEN

    def wait(self, number: int, client: Client = ANN) -> float:
        decision = self.acquire(number, client)
        assert not decision.probe
        assert not decision.client_refused
        return decision.wait


def drain(
    bench: LimiterBench, numbers: Iterable[int], service: float = 0.0
) -> list[tuple[float, int]]:
    """Let tokens return as decided until all were served; return when and which."""
    due = sorted((bench.now, number) for number in numbers)
    busy: list[tuple[float, int]] = []
    served: list[tuple[float, int]] = []
    while due or busy:
        if busy and (not due or busy[0][0] <= due[0][0]):
            bench.now, number = busy.pop(0)
            bench.record(number, OK)
            continue
        bench.now, number = due.pop(0)
        pause = bench.wait(number)
        if pause:
            due = sorted([*due, (bench.now + pause, number)])
        else:
            served.append((bench.now, number))
            busy = sorted([*busy, (bench.now + service, number)])
    return served
