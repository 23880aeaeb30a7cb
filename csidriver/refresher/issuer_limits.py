"""Rate limit, concurrency limit, pauses and circuit breaker of one authorization server.

A caller over the limit gets the time of its next attempt, one after the other at the configured
rate, so that 10,000 tokens due at once return one by one. No clock, no lock; all in seconds.
"""

from dataclasses import dataclass
from enum import Enum

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Success, TokenResponse
from csidriver.refresher.circuit_breaker import RECHECK_SECONDS, BreakerState, CircuitBreaker
from csidriver.refresher.client_limits import ClientLimits, Pacer

# A worker that comes a little late must not delay the next one.
LATENESS_SECONDS = 0.1
# Each pause of the whole server halves the rate; each success gives a 64th of it back.
_MIN_RATE_FACTOR, _RATE_RECOVERY = 1 / 16, 1 / 64
# State that nobody has used for this long, longer than any pause, is dropped; checked so often.
_UNUSED_SECONDS, _CLEANUP_SECONDS = 7200.0, 60.0
# A server's tokens may recover this long after the server does.
_RECOVERY_SECONDS = 3600.0

_UNANSWERED = frozenset(
    {FailureReason.UNREACHABLE, FailureReason.NO_ANSWER, FailureReason.SERVER_ERROR}
)


class IssuerHealth(Enum):
    """The health of a server; the value is the text of its Event."""

    AVAILABLE = "answers again"
    UNREACHABLE = "does not answer; no token is sent until it does"
    THROTTLED = "asks several clients to slow down; it is asked less often until it answers again"


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
        self.used_at = 0.0
        self._throttles_all = False
        self._recovering_until = 0.0
        self._paused_until = 0.0
        self._last_throttled: tuple[str, float] = ("", 0.0)
        self._next_send_at = 0.0
        self._first_pacer, self._returning_pacer = Pacer(), Pacer()
        self._reservations: dict[SourceRef, tuple[float, str]] = {}
        self._clients: dict[str, ClientLimits] = {}
        self._cleaned_at = 0.0

    @property
    def waiting(self) -> int:
        """Return how many tokens wait for the time that they were given."""
        return len(self._reservations)

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
        self._drop_unused(now)
        at, reserved_client = self._reservations.get(ref, (0.0, ""))
        returning = reserved_client == client
        if returning and now < at:
            return SlotDecision(at - now)
        if self.breaker.acquire_probe(now):
            return SlotDecision(probe=True)
        self._reservations.pop(ref, None)
        self.demanded += not returning
        limits = self._clients.setdefault(client, ClientLimits())
        limits.used_at = self.used_at = now
        if limits.reports_refusal(ref, now):
            return SlotDecision(client_refused=True)
        at = self._start_at(issuer, limits, now, returning=returning)
        if at > now:
            self._reservations[ref] = at, client
            return SlotDecision(at - now)
        self._next_send_at = max(self._next_send_at, now) + self._interval(issuer)
        self.in_flight += 1
        limits.in_flight += 1
        return SlotDecision()

    def release(self, client: str) -> None:
        self.in_flight -= 1
        self._clients[client].in_flight -= 1

    def record_outcome(
        self, ref: SourceRef, client: str, outcome: TokenResponse, now: float
    ) -> None:
        self.release(client)
        limits = self._clients[client]
        limits.record_outcome(outcome, now)
        reason = None if isinstance(outcome, Success) else outcome.reason
        self.breaker.record_outcome(ref, now, answered=reason not in _UNANSWERED)
        if reason is None:
            self.rate_factor = min(1.0, self.rate_factor + _RATE_RECOVERY)
            self._throttles_all = False
        elif reason is FailureReason.THROTTLED:
            self._throttle(client, limits.throttled_until, now)
        if self.health is not IssuerHealth.AVAILABLE:
            self._recovering_until = now + _RECOVERY_SECONDS

    def _throttle(self, client: str, until: float, now: float) -> None:
        """Pause and slow down the whole server while it throttles two clients."""
        other_client, other_until = self._last_throttled
        if other_client not in ("", client) and other_until > now:
            self._paused_until = max(self._paused_until, min(other_until, until))
            self.rate_factor = max(_MIN_RATE_FACTOR, self.rate_factor / 2)
            self._throttles_all = True
        self._last_throttled = client, until

    def forget_refusals(self) -> None:
        """Let the clients try again that were refused with another configuration."""
        self._reservations.clear()
        for limits in self._clients.values():
            limits.forget_refusal()

    def is_unused(self, now: float) -> bool:
        """Return True if nobody has asked for a slot for long."""
        return not self.in_flight and now > self.used_at + _UNUSED_SECONDS

    def _start_at(
        self, issuer: Issuer, limits: ClientLimits, now: float, *, returning: bool
    ) -> float:
        """Return when this token may send: `now`, or an instant that is reserved for it."""
        interval = self._interval(issuer)
        pacer = self._returning_pacer if returning else self._first_pacer
        blocked = max(self.breaker.blocked_until(now), self._paused_until)
        if blocked > now:
            return pacer.reserve(blocked, interval)
        blocked = limits.blocked_until(now)
        if blocked > now:
            # Its own pacer: a client that must wait does not delay the others.
            return limits.pacer.reserve(blocked, interval)
        half_open = self.breaker.state is BreakerState.HALF_OPEN
        if self.in_flight >= (1 if half_open else issuer.in_flight):
            return pacer.reserve(now + RECHECK_SECONDS, interval)
        others_wait = (
            not returning
            and max(self._first_pacer.last_reserved, self._returning_pacer.last_reserved) > now
        )
        if others_wait or now < self._next_send_at - LATENESS_SECONDS:
            return pacer.reserve(max(now, self._next_send_at), interval)
        return now

    def _interval(self, issuer: Issuer) -> float:
        return 1.0 / (issuer.rate * self.rate_factor)

    def _drop_unused(self, now: float) -> None:
        if now < self._cleaned_at + _CLEANUP_SECONDS:
            return
        self._cleaned_at = now
        self._reservations = {
            ref: (at, client)
            for ref, (at, client) in self._reservations.items()
            if at > now - _CLEANUP_SECONDS
        }
        self._clients = {
            client: limits
            for client, limits in self._clients.items()
            if limits.in_flight
            or limits.blocked_until(now) > now
            or now < limits.used_at + _UNUSED_SECONDS
        }
