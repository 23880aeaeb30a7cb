import heapq
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
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


def ref(number: int, namespace: str = "ns") -> SourceRef:
    return SourceRef(namespace, f"token-{number}")


def issuer(name: str = "demo", **options: Any) -> Issuer:
    return Issuer(name, token_endpoint="https://as.example/token", **options)


class LimiterBench:
    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        self.issuer = issuer(**options)
        self.limiter = RateLimiter(lambda: self.now)
        self.asked = 0

    def acquire(self, number: int, client: Client = ANN, *, namespace: str = "ns") -> SlotDecision:
        return self.limiter.acquire(self.issuer, ref(number, namespace), client)

    def record(
        self, number: int, outcome: TokenResponse, client: Client = ANN, *, namespace: str = "ns"
    ) -> IssuerHealth | None:
        token = ref(number, namespace)
        return self.limiter.record_outcome(self.issuer, token, client, outcome)

    def request(
        self, number: int, outcome: TokenResponse, client: Client = ANN, *, namespace: str = "ns"
    ) -> IssuerHealth | None:
        """A request that may be sent at once."""
        assert self.acquire(number, client, namespace=namespace) == SEND_NOW
        health = self.record(number, outcome, client, namespace=namespace)
        self.now += 1.0
        return health

    def state(self) -> BreakerState:
        return self.limiter.loads()[0].state

    def open_breaker(self) -> None:
        for number in range(3):
            self.request(number, UNREACHABLE)
        self.now -= 1.0
        assert self.state() is BreakerState.OPEN

    def call(self) -> str | float:
        """Whose turn it is, or the seconds until the next turn."""
        called, wait = self.limiter.next_turn(self.issuer.name)
        return wait if called is None else called.name

    def wait(self, number: int, client: Client = ANN, *, namespace: str = "ns") -> float:
        decision = self.acquire(number, client, namespace=namespace)
        assert not decision.probe
        assert not decision.client_refused
        return decision.wait


def drain(
    bench: LimiterBench,
    tokens: Iterable[SourceRef],
    service: float = 0.0,
    *,
    arrive: Mapping[SourceRef, float] = MappingProxyType({}),
    until: float = math.inf,
    returns: str = "",
) -> list[tuple[float, SourceRef]]:
    """Let tokens ask, again as decided or when it is their turn, until all have been served.

    Return when and which. `service`: the seconds of a request. The tokens of the namespace
    `returns` are due again after each request.
    """
    due = {token: arrive.get(token, bench.now) for token in tokens}
    asks = [(at, number, token) for number, (token, at) in enumerate(due.items())]
    heapq.heapify(asks)
    busy: list[tuple[float, SourceRef]] = []
    served: list[tuple[float, SourceRef]] = []
    while (due or busy) and bench.now < until:
        called, turn = bench.limiter.next_turn(bench.issuer.name)
        if called is None:
            while asks and due.get(asks[0][2]) != asks[0][0]:
                heapq.heappop(asks)
            ends, asks_at = busy[0][0] if busy else math.inf, asks[0][0] if asks else math.inf
            bench.now = max(bench.now, min(ends, asks_at, bench.now + turn))
            if ends <= bench.now:
                bench.limiter.record_outcome(bench.issuer, heapq.heappop(busy)[1], ANN, OK)
                continue
            if asks_at > bench.now:
                continue
            called = asks[0][2]
        decision = bench.limiter.acquire(bench.issuer, called, ANN)
        assert not decision.probe
        bench.asked += 1
        if decision.wait:
            due[called] = bench.now + decision.wait
            heapq.heappush(asks, (due[called], len(asks), called))
            continue
        del due[called]
        served.append((bench.now, called))
        heapq.heappush(busy, (bench.now + service, called))
        if called.namespace == returns:
            due[called] = bench.now + service
            heapq.heappush(asks, (due[called], len(asks), called))
    return served
