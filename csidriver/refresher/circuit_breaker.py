"""Whether an authorization server is dead, and when to look again. Instants in seconds.

What opens it are exchanges without an answer, of several tokens: one that makes a server hang or
fail is not to stop the others. What closes it is a harmless request, not somebody's refresh token.
"""

from enum import IntEnum

from csidriver.core.backoff import stable_jitter
from csidriver.core.names import SourceRef

# So many different tokens in a row.
_FAILURE_THRESHOLD = 3
# Seconds between two probes: doubling, and never longer than a token of a minute can wait.
_MIN_PAUSE = 1.0
_MAX_PAUSE = 5.0
# A probe that did not come back after so many seconds never will.
_PROBE_TIMEOUT = 30.0
# Seconds others wait for one that is probing or trying.
RECHECK_SECONDS = 0.5


class BreakerState(IntEnum):
    """What a breaker lets through; the value is that of the metric."""

    CLOSED = 0  # everything
    HALF_OPEN = 1  # one exchange at a time: the server answers probes again
    OPEN = 2  # nothing


class CircuitBreaker:
    """One server's. `name` spreads the probes of many clusters."""

    def __init__(self, name: str) -> None:
        self.state = BreakerState.CLOSED
        self._name = name
        self._unanswered: set[SourceRef] = set()
        self._openings = 0
        self._retry_at = 0.0
        self._probing = False

    def blocked_until(self, now: float) -> float:
        """When to ask again, `now` if an exchange may start."""
        if self.state is not BreakerState.OPEN:
            return now
        return now + RECHECK_SECONDS if self._probing else self._retry_at

    def acquire_probe(self, now: float) -> bool:
        """Whether the caller is to probe; if so, nobody else is until `probed`."""
        if self.state is not BreakerState.OPEN or now < self._retry_at:
            return False
        # Should the prober get lost, the next one takes over.
        self._retry_at = now + _PROBE_TIMEOUT
        self._probing = True
        return True

    def record_probe(self, now: float, *, alive: bool) -> None:
        """The probe is over."""
        if self.state is BreakerState.OPEN and self._probing:
            self._probing = False
            if alive:
                self.state = BreakerState.HALF_OPEN
            else:
                self._open(now)

    def record_outcome(self, ref: SourceRef, now: float, *, answered: bool) -> None:
        """An exchange for a token ended."""
        if answered:
            self.state = BreakerState.CLOSED
            self._unanswered.clear()
            self._openings = 0
            return
        self._unanswered.add(ref)
        threshold = 1 if self.state is BreakerState.HALF_OPEN else _FAILURE_THRESHOLD
        if self.state is not BreakerState.OPEN and len(self._unanswered) >= threshold:
            self._open(now)

    def _open(self, now: float) -> None:
        pause = min(_MAX_PAUSE, _MIN_PAUSE * 2.0 ** min(self._openings, 10))
        self.state = BreakerState.OPEN
        self._retry_at = now + pause * (0.5 + stable_jitter(self._name, self._openings) / 2)
        self._openings += 1
        self._unanswered.clear()
