"""The network between replicas, API server and authorization server, and its faults."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.token_response import Failure, TokenResponse
from csidriver.core.refresh import effects
from csidriver.errors import StoreUnavailable
from tests.core.refresh.virtual_server import answer
from tests.simulator.cluster import Cluster
from tests.simulator.event_loop import START, EventLoop
from tests.simulator.invariants import Invariants
from tests.simulator.parameters import RunParameters
from tests.simulator.readiness import ReadinessCheck
from tests.simulator.server import Server

Window = tuple[float, float]
Request = effects.RequestToken | effects.RequestRepeatable
# Status and body of requests that consume nothing.
_REFUSALS: list[tuple[int, dict[str, str]]] = [
    (401, {"error": "invalid_client"}),
    (403, {}),
    (404, {}),
    (400, {"error": "temporarily_unavailable"}),
]


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
        return self.loop.now < START + self.parameters.horizon

    def fault_strikes(self, odds: float) -> bool:
        """Return True with this probability, while faults may occur."""
        return odds > 0 and self.faults_go_on and self.rng.random() < odds

    def call_store(self, call: Callable[[], object], *, writes: bool) -> object:
        if self._within(self.store_outages):
            raise StoreUnavailable("outage")
        fails = self.fault_strikes(self.parameters.store_fails)
        if fails and (not writes or self.rng.random() < 0.5):
            raise StoreUnavailable("failed")
        result = call()
        if fails:
            raise StoreUnavailable("no answer")
        return result

    def send(self, effect: Request, reply: Callable[[TokenResponse, float], None]) -> None:
        """Send a token request; call `reply` with the outcome and the seconds it took."""
        if self._within(self.server_outages):
            reply(Failure(FailureReason.UNREACHABLE), 0.1)
            return
        refused = self._refusal()
        if refused is not None:
            reply(refused, 0.2)
            return
        response_lost = self.fault_strikes(self.parameters.lost_response)
        unknown = self._unknown_outcome(effect.timeout) if response_lost else None
        if unknown is not None and self.rng.random() < 0.5:
            reply(*unknown)
            return
        delay = self.rng.uniform(0.05, 0.3)

        def arrive() -> None:
            what, outcome = self._serve(effect)
            text = f"{what} -> {_describe(outcome)}"
            self.loop.record("server", text if unknown is None else f"{text} (lost)")
            if unknown is not None:
                reply(*unknown)
                return
            if isinstance(effect, effects.RequestToken):
                self.invariants.on_response(what, outcome)
            reply(outcome, delay)

        self.loop.call_at(self.loop.now + delay, arrive)

    def _serve(self, effect: Request) -> tuple[str, TokenResponse]:
        now = self.loop.now
        if isinstance(effect, effects.RequestRepeatable):
            client = effect.client.client_id
            return effect.ref.name, self.server.request(client, effect.form, now)
        token = effect.refresh_token.reveal()
        return token, self.server.present(token, now, self.rng)

    def _unknown_outcome(self, timeout: float) -> tuple[TokenResponse, float]:
        """Return the outcome of a request that is cut off, or whose response a proxy replaced."""
        choice = self.rng.randrange(3)
        if choice == 0:
            return answer(502, {}, self.loop.now), 0.3
        if choice == 1:
            return answer(500, {"error": "server_error"}, self.loop.now), 0.3
        return Failure(FailureReason.NO_ANSWER), max(0.0, timeout - 0.3)

    def _refusal(self) -> TokenResponse | None:
        if not self.fault_strikes(self.parameters.refused_request):
            return None
        now, choice = self.loop.now, self.rng.randrange(5)
        if choice == 0:
            return answer(429, {}, now, str(self.rng.randint(1, 60)))
        return answer(*_REFUSALS[choice - 1], now)

    def introspect(self, token: str) -> Introspection:
        if not self.probe():
            return Introspection.SILENT
        if not self.server.introspects:
            return Introspection.REFUSED
        return Introspection.ACTIVE if self.server.is_active(token) else Introspection.INACTIVE

    def probe(self) -> bool:
        return not self._within(self.server_outages)

    def _within(self, windows: list[Window]) -> bool:
        return any(start <= self.loop.now < end for start, end in windows)


def _describe(outcome: TokenResponse) -> str:
    if isinstance(outcome, Failure):
        return outcome.reason.value
    token = outcome.reply.refresh_token
    return "Ok" if token is None else f"Ok {token.reveal()}"
