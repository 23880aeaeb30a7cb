"""What lies between the processes, the API server and the authorization server, and its faults."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure, TokenResponse
from csidriver.core.refresh import effects
from csidriver.errors import StoreUnavailable
from tests.simulator.cluster import Cluster
from tests.simulator.invariants import Invariants
from tests.simulator.kernel import START, Kernel
from tests.simulator.plan import Plan
from tests.simulator.server import Server, answer

Window = tuple[float, float]


@dataclass
class Network:
    """The surroundings of both processes. Windows are of true time; all faults end with `until`."""

    plan: Plan
    rng: Random
    kernel: Kernel
    cluster: Cluster
    server: Server
    invariants: Invariants
    store_outages: list[Window] = field(default_factory=list)
    server_outages: list[Window] = field(default_factory=list)

    @property
    def faulty(self) -> bool:
        """Whether things may still go wrong."""
        return self.kernel.now < START + self.plan.horizon

    def hits(self, odds: float) -> bool:
        """A die, as long as things may go wrong."""
        return odds > 0 and self.faulty and self.rng.random() < odds

    def call_store(self, act: Callable[[], object], *, writes: bool) -> object:
        """One call to the API server. A write that fails may have happened."""
        if self._within(self.store_outages):
            raise StoreUnavailable("outage")
        fails = self.hits(self.plan.store_fails)
        if fails and (not writes or self.rng.random() < 0.5):
            raise StoreUnavailable("failed")
        result = act()
        if fails:
            raise StoreUnavailable("no answer")
        return result

    def send(
        self, effect: effects.RequestToken, reply: Callable[[TokenResponse, float], None]
    ) -> None:
        """Present a token: `reply` is called with the outcome and the seconds it took."""
        if self._within(self.server_outages):
            reply(Failure(FailureReason.UNREACHABLE), 0.1)
            return
        refused = self._refusal()
        if refused is not None:
            reply(refused, 0.2)
            return
        lost = self.hits(self.plan.lost)
        unknown = self._unknown(effect.timeout) if lost else None
        if unknown is not None and self.rng.random() < 0.5:
            reply(*unknown)
            return
        delay = self.rng.uniform(0.05, 0.3)
        token = effect.refresh_token.reveal()

        def arrive() -> None:
            outcome = self.server.present(token, self.kernel.now, self.rng)
            self.kernel.note("server", f"{token} -> {_told(outcome)}{' (lost)' if lost else ''}")
            if unknown is not None:
                reply(*unknown)
            else:
                self.invariants.answered(token, outcome)
                reply(outcome, delay)

        self.kernel.at(self.kernel.now + delay, arrive)

    def _unknown(self, timeout: float) -> tuple[TokenResponse, float]:
        """What is heard of an exchange that is cut off, or whose answer a proxy has replaced."""
        kind = self.rng.randrange(3)
        if kind == 0:
            return answer(502, {}, self.kernel.now), 0.3
        if kind == 1:
            return answer(500, {"error": "server_error"}, self.kernel.now), 0.3
        return Failure(FailureReason.NO_ANSWER), max(0.0, timeout - 0.3)

    def _refusal(self) -> TokenResponse | None:
        if not self.hits(self.plan.refused):
            return None
        now, kind = self.kernel.now, self.rng.randrange(5)
        if kind == 0:
            return answer(429, {}, now, str(self.rng.randint(1, 60)))
        if kind == 1:
            return answer(401, {"error": "invalid_client"}, now)
        if kind == 2:
            return answer(403, {}, now)
        if kind == 3:
            return answer(404, {}, now)
        return answer(400, {"error": "temporarily_unavailable"}, now)

    def reachable(self) -> bool:
        """A probe's result."""
        return not self._within(self.server_outages)

    def _within(self, windows: list[Window]) -> bool:
        return any(start <= self.kernel.now < end for start, end in windows)


def _told(outcome: TokenResponse) -> str:
    if isinstance(outcome, Failure):
        return outcome.reason.value
    token = outcome.reply.refresh_token
    return "Ok" if token is None else f"Ok {token.reveal()}"
