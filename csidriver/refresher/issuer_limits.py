"""Rate limit, concurrency limit, pauses and circuit breaker of one authorization server.

A token over the limit waits in the line of its namespace. The namespaces take turns at the
configured rate. No clock, no lock; all in seconds.
"""

import logging
import math
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from csidriver.core.kubernetes.event import Event
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh.effects import RequestRepeatable, RequestToken
from csidriver.core.status import Status
from csidriver.refresher.circuit_breaker import RECHECK_SECONDS, BreakerState, CircuitBreaker
from csidriver.refresher.client_limits import ClientLimits
from csidriver.refresher.fair_queue import FairQueue

log = logging.getLogger(__name__)

# The reason of the Event that follows one of IssuerUnavailable when the issuer answers again.
ISSUER_AVAILABLE = "IssuerAvailable"
# A worker that comes a little late must not delay the next one.
LATENESS_SECONDS = 0.1
# A token in line asks again after so long at least, if its turn does not come before.
_LEAST_WAIT = 5.0
# Each pause of the whole server halves the rate; each success gives a 64th of it back.
_MIN_RATE_FACTOR, _RATE_RECOVERY = 1 / 16, 1 / 64
# Users may invent clients, and delete Secrets whose turn it is: only so many are remembered.
_MAX_REMEMBERED = 4096
# A server's tokens may recover this long after the server does.
_RECOVERY_SECONDS = 3600.0

_UNANSWERED = frozenset(
    {FailureReason.UNREACHABLE, FailureReason.NO_ANSWER, FailureReason.SERVER_ERROR}
)


class IssuerHealth(Enum):
    """The health of a server; the value is the text of its Event."""

    AVAILABLE = "answers again"
    UNREACHABLE = "does not answer; no token is sent until it does"
    THROTTLED = "asks namespaces to slow down; it is asked less often until it answers again"


def health_event(issuer: Issuer, health: IssuerHealth, deployment: SourceRef) -> Event:
    """Log the health of a server, and return its Event for all of its tokens (protocol 5)."""
    available = health is IssuerHealth.AVAILABLE
    message = f"issuer {issuer.name} {health.value}"
    log.log(logging.INFO if available else logging.WARNING, "%s", message)
    reason = ISSUER_AVAILABLE if available else Status.ISSUER_UNAVAILABLE.value
    return Event(deployment, "", reason, message, available, "Deployment", issuer.name)


def evidence(request: RequestToken | RequestRepeatable, outcome: TokenResponse) -> TokenResponse:
    """Return what an outcome says of the client's other requests.

    Servers refuse a grant, or an audience, as they refuse a client (Keycloak: `invalid_client`).
    The client's logins go on all the same.
    """
    refused = isinstance(outcome, Failure) and outcome.reason is FailureReason.INVALID_CLIENT
    if refused and isinstance(request, RequestRepeatable):
        return Failure(FailureReason.CLIENT_NOT_ALLOWED)
    return outcome


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """Send now if `wait` is 0, else ask again after so many seconds.

    `probe`: probe the server, record the result, and ask again. `client_refused`: the server is
    known to refuse this client; treat that as the outcome and send nothing.
    """

    wait: float = 0.0
    probe: bool = False
    client_refused: bool = False


class IssuerLimits:
    """The limits of one server."""

    def __init__(self, name: str) -> None:
        self.breaker = CircuitBreaker(name)
        self.demanded = 0
        self.in_flight = 0
        self.rate_factor = 1.0
        self._throttles_all = False
        self._recovering_until = 0.0
        self._paused_until = 0.0
        self._last_throttled: tuple[str, float] = ("", 0.0)
        self._next_send_at = self._next_turn_at = 0.0
        self._lines: FairQueue[SourceRef] = FairQueue()
        # The tokens whose turn it is, and the clients; the one used last comes last.
        self._called: OrderedDict[SourceRef, bool] = OrderedDict()
        self._clients: OrderedDict[str, ClientLimits] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Return how many tokens wait for their turn."""
        return sum(map(len, self._lines.lines.values()))

    @property
    def health(self) -> IssuerHealth:
        """Return the health of the server now."""
        if self.breaker.state is not BreakerState.CLOSED:
            return IssuerHealth.UNREACHABLE
        return IssuerHealth.THROTTLED if self._throttles_all else IssuerHealth.AVAILABLE

    def reports_for_all_tokens(self, now: float) -> bool:
        """Return True if a report about the server stands for the failures of its tokens."""
        return self.health is not IssuerHealth.AVAILABLE or now < self._recovering_until

    def acquire(self, issuer: Issuer, ref: SourceRef, client: str, now: float) -> SlotDecision:
        """Take a slot, or say when to ask again; `record_outcome` or `release` frees the slot."""
        if self.breaker.acquire_probe(now):
            return SlotDecision(probe=True)
        limits = self._limits_of(client)
        is_called = self._called.pop(ref, False)
        if limits.reports_refusal(ref, now):
            return SlotDecision(client_refused=True)
        blocked, opens = limits.blocked_until(now), self._opens_at(issuer, now)
        if blocked > now:
            return SlotDecision(blocked - now)
        self.demanded += not (is_called or ref in self._lines.lines.get(ref.namespace, ()))
        if opens > now or (self._lines.lines and not is_called):
            return SlotDecision(self._line_up(issuer, ref, opens - now, first=is_called))
        self._next_send_at = max(self._next_send_at, now) + self._interval(issuer)
        self.in_flight += 1
        self._lines.in_progress[ref.namespace] += 1
        limits.in_flight += 1
        return SlotDecision()

    def next_turn(self, issuer: Issuer, now: float) -> tuple[SourceRef | None, float]:
        """Return the token whose turn it is, or None and the seconds until the next turn."""
        if not self._lines.lines:
            return None, math.inf
        at = max(self._opens_at(issuer, now), self._next_turn_at)
        if at > now:
            return None, at - now
        self._next_turn_at = max(self._next_turn_at, now - LATENESS_SECONDS) + self._interval(
            issuer
        )
        ref = self._lines.pop()
        self._called[ref] = True
        if len(self._called) > _MAX_REMEMBERED:
            self._called.popitem(last=False)
        return ref, 0.0

    def release(self, ref: SourceRef, client: str) -> None:
        self.in_flight -= 1
        self._lines.finish(ref.namespace)
        self._clients[client].in_flight -= 1

    def record_outcome(
        self, ref: SourceRef, client: str, outcome: TokenResponse, now: float
    ) -> None:
        self.release(ref, client)
        limits = self._clients[client]
        limits.record_outcome(outcome, now)
        reason = None if isinstance(outcome, Success) else outcome.reason
        if reason is not None and reason.is_local:
            return
        answered = reason not in _UNANSWERED
        self.breaker.record_outcome(ref, now, answered=answered, proven=limits.proven)
        if reason is None:
            self.rate_factor = min(1.0, self.rate_factor + _RATE_RECOVERY)
            self._throttles_all = False
        elif reason is FailureReason.THROTTLED and limits.proven:
            self._throttle(ref.namespace, limits.throttled_until, now)
        if self.health is not IssuerHealth.AVAILABLE:
            self._recovering_until = now + _RECOVERY_SECONDS

    def _throttle(self, namespace: str, until: float, now: float) -> None:
        """Pause and slow down the whole server while it throttles two namespaces."""
        other, other_until = self._last_throttled
        if other not in ("", namespace) and other_until > now:
            self._paused_until = max(self._paused_until, min(other_until, until))
            self.rate_factor = max(_MIN_RATE_FACTOR, self.rate_factor / 2)
            self._throttles_all = True
        self._last_throttled = namespace, until

    def forget_refusals(self) -> None:
        """Let the clients try again that were refused with another configuration."""
        for limits in self._clients.values():
            limits.forget_refusal()

    def _opens_at(self, issuer: Issuer, now: float) -> float:
        """Return when a token may send, at the earliest."""
        half_open = self.breaker.state is BreakerState.HALF_OPEN
        is_full = self.in_flight >= (1 if half_open else issuer.in_flight)
        return max(
            self.breaker.blocked_until(now),
            self._paused_until,
            now + RECHECK_SECONDS if is_full else now,
            self._next_send_at - LATENESS_SECONDS,
        )

    def _line_up(self, issuer: Issuer, ref: SourceRef, opens_in: float, *, first: bool) -> float:
        """Return the seconds until the token asks again, unless its turn comes before."""
        if not self._lines.lines:
            self._next_turn_at = max(self._next_turn_at, self._next_send_at)
        before = self._lines.add(ref, ref.namespace, first=first)
        # Twice the time that it should take: who asks in vain costs a reconciliation.
        return max(_LEAST_WAIT, opens_in + 2 * before * self._interval(issuer))

    def _limits_of(self, client: str) -> ClientLimits:
        limits = self._clients.setdefault(client, ClientLimits())
        self._clients.move_to_end(client)
        if len(self._clients) > _MAX_REMEMBERED:
            del self._clients[next(name for name, c in self._clients.items() if not c.in_flight)]
        return limits

    def _interval(self, issuer: Issuer) -> float:
        return 1.0 / (issuer.rate * self.rate_factor)
