"""Pauses of one client at one authorization server; instants are in seconds."""

from dataclasses import dataclass, field

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Success, TokenResponse
from csidriver.core.refresh.schedule import slow_delay

# Bounds of Retry-After; without it the pause doubles from `_THROTTLE_BASE`.
_MIN_RETRY_AFTER, _MAX_RETRY_AFTER, _THROTTLE_BASE, _MAX_THROTTLE = 1.0, 3600.0, 2.0, 60.0
# Seconds that a refused client's tokens wait while one of them tries for all.
_TRIAL_SECONDS = 5.0
# Refusals of a client that was authenticated.
_CLIENT_ACCEPTED = frozenset(
    {FailureReason.INVALID_GRANT, FailureReason.LOGIN_REQUIRED, FailureReason.INVALID_SCOPE}
)


@dataclass(slots=True)
class ClientLimits:
    """The limits of one client of one namespace.

    `informed`: the tokens that know that it is refused. `proven`: it has had a success.
    """

    proven: bool = False
    throttles: int = 0
    throttled_until: float = 0.0
    rejected_since: float = 0.0
    rejected_until: float = 0.0
    in_flight: int = 0
    informed: set[SourceRef] = field(default_factory=set)

    def blocked_until(self, now: float) -> float:
        """Return when a token of this client may send, at the earliest."""
        blocked = max(self.throttled_until, self.rejected_until)
        if blocked <= now and self.rejected_until and self.in_flight:
            return now + _TRIAL_SECONDS
        return blocked

    def reports_refusal(self, ref: SourceRef, now: float) -> bool:
        """Return True, once for each token, while the client is known to be refused."""
        if now >= self.rejected_until or ref in self.informed:
            return False
        self.informed.add(ref)
        return True

    def record_outcome(self, outcome: TokenResponse, now: float) -> None:
        """Begin, prolong or end the pauses after a token request."""
        self.proven = self.proven or isinstance(outcome, Success)
        if isinstance(outcome, Success) or outcome.reason in _CLIENT_ACCEPTED:
            self.throttles = 0
            self.forget_refusal()
        elif outcome.reason is FailureReason.THROTTLED:
            if now >= self.throttled_until:  # else sent before the last one was throttled
                self.throttles += 1
            pause = outcome.pause
            if pause is None:
                pause = min(_MAX_THROTTLE, _THROTTLE_BASE ** min(self.throttles, 10))
            bounded = min(max(pause, _MIN_RETRY_AFTER), _MAX_RETRY_AFTER)
            self.throttled_until = max(self.throttled_until, now + bounded)
        elif outcome.reason is FailureReason.INVALID_CLIENT:
            self.rejected_since = self.rejected_since or now
            self.rejected_until = now + slow_delay(now - self.rejected_since)

    def forget_refusal(self) -> None:
        self.rejected_since = self.rejected_until = 0.0
        self.informed.clear()
