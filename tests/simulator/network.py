"""The network between replicas, API server and authorization server, and its faults."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.token_response import Failure, TokenResponse
from csidriver.core.refresh import effects
from csidriver.errors import StoreUnavailable
from tests.simulator.cluster import Cluster
from tests.simulator.event_loop import START, EventLoop
from tests.simulator.invariants import Invariants
from tests.simulator.parameters import RunParameters
from tests.simulator.readiness import ReadinessCheck
from tests.simulator.server import Server, token_response

Window = tuple[float, float]


class Serve(Protocol):
    """Lets the server answer; `lost`: nobody hears it."""

    def __call__(self, *, lost: bool) -> TokenResponse: ...


@dataclass
class Network:
    """The surroundings of both replicas. Windows are in true time; faults end after the horizon."""

    parameters: RunParameters
    rng: Random
    loop: EventLoop
    cluster: Cluster
    server: Server
    invariants: Invariants
    readiness: ReadinessCheck
    store_outages: list[Window] = field(default_factory=list)
    server_outages: list[Window] = field(default_factory=list)

    @property
    def faults_go_on(self) -> bool:
        """Return True while faults may occur."""
        return self.loop.now < START + self.parameters.horizon

    def fault_strikes(self, odds: float) -> bool:
        """Return True with this probability, while faults may occur."""
        return odds > 0 and self.faults_go_on and self.rng.random() < odds

    def call_store(self, call: Callable[[], object], *, writes: bool) -> object:
        """Call the API server. A write that fails may have happened."""
        if self._within(self.store_outages):
            raise StoreUnavailable("outage")
        fails = self.fault_strikes(self.parameters.store_fails)
        if fails and (not writes or self.rng.random() < 0.5):
            raise StoreUnavailable("failed")
        result = call()
        if fails:
            raise StoreUnavailable("no answer")
        return result

    def send(
        self, effect: effects.RequestToken, reply: Callable[[TokenResponse, float], None]
    ) -> None:
        """Send a token request; call `reply` with the outcome and the seconds it took."""
        token = effect.refresh_token.reveal()

        def serve(*, lost: bool) -> TokenResponse:
            outcome = self.server.present(token, self.loop.now, self.rng)
            self.loop.record(
                "server", f"{token} -> {_describe(outcome)}{' (lost)' if lost else ''}"
            )
            if not lost:
                self.invariants.on_response(token, outcome)
            return outcome

        self._deliver(effect.timeout, serve, reply)

    def request(
        self, effect: effects.RequestRepeatable, reply: Callable[[TokenResponse, float], None]
    ) -> None:
        """Send a token request that consumes nothing."""

        def serve(*, lost: bool) -> TokenResponse:
            outcome = self.server.request(effect.client.client_id, effect.form, self.loop.now)
            self._record(effect.ref.name, outcome, lost=lost)
            return outcome

        self._deliver(effect.timeout, serve, reply)

    def _record(self, what: str, outcome: TokenResponse, *, lost: bool) -> None:
        self.loop.record("server", f"{what} -> {_describe(outcome)}{' (lost)' if lost else ''}")

    def _deliver(
        self, timeout: float, serve: Serve, reply: Callable[[TokenResponse, float], None]
    ) -> None:
        if self._within(self.server_outages):
            reply(Failure(FailureReason.UNREACHABLE), 0.1)
            return
        refused = self._refusal()
        if refused is not None:
            reply(refused, 0.2)
            return
        response_lost = self.fault_strikes(self.parameters.lost_response)
        unknown = self._unknown_outcome(timeout) if response_lost else None
        if unknown is not None and self.rng.random() < 0.5:
            reply(*unknown)
            return
        delay = self.rng.uniform(0.05, 0.3)

        def arrive() -> None:
            outcome = serve(lost=unknown is not None)
            if unknown is not None:
                reply(*unknown)
            else:
                reply(outcome, delay)

        self.loop.call_at(self.loop.now + delay, arrive)

    def _unknown_outcome(self, timeout: float) -> tuple[TokenResponse, float]:
        """Return the outcome of a request that is cut off, or whose response a proxy replaced."""
        choice = self.rng.randrange(3)
        if choice == 0:
            return token_response(502, {}, self.loop.now), 0.3
        if choice == 1:
            return token_response(500, {"error": "server_error"}, self.loop.now), 0.3
        return Failure(FailureReason.NO_ANSWER), max(0.0, timeout - 0.3)

    def _refusal(self) -> TokenResponse | None:
        if not self.fault_strikes(self.parameters.refused_request):
            return None
        now, choice = self.loop.now, self.rng.randrange(5)
        if choice == 0:
            return token_response(429, {}, now, str(self.rng.randint(1, 60)))
        if choice == 1:
            return token_response(401, {"error": "invalid_client"}, now)
        if choice == 2:
            return token_response(403, {}, now)
        if choice == 3:
            return token_response(404, {}, now)
        return token_response(400, {"error": "temporarily_unavailable"}, now)

    def introspect(self, token: str) -> Introspection:
        return self.server.introspect(token) if self.probe() else Introspection.SILENT

    def probe(self) -> bool:
        return not self._within(self.server_outages)

    def _within(self, windows: list[Window]) -> bool:
        return any(start <= self.loop.now < end for start, end in windows)


def _describe(outcome: TokenResponse) -> str:
    if isinstance(outcome, Failure):
        return outcome.reason.value
    token = outcome.reply.refresh_token
    return "Ok" if token is None else f"Ok {token.reveal()}"
