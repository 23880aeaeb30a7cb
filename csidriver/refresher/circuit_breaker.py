"""A circuit breaker per authorization server. Instants are in seconds.

Unanswered token requests of several tokens open it: a single token that makes the server hang does
not stop the others, nor does a single namespace while another one is answered. A probe, which
presents no refresh token, lets requests through again.
"""

import math
from enum import IntEnum

from csidriver.core.backoff import stable_jitter
from csidriver.core.names import SourceRef

# Unanswered requests in a row, each of another token.
_FAILURE_THRESHOLD = 3
# An answer to another namespace counts for so many seconds.
_ANSWER_SECONDS = 3600.0
# Seconds between two probes: doubled each time, and short for a token that lives for one minute.
_MIN_PAUSE = 1.0
_MAX_PAUSE = 5.0
# A probe without a result after so many seconds is given up.
_PROBE_TIMEOUT = 30.0
# Seconds that the others wait while one of them probes or tries.
RECHECK_SECONDS = 0.5


class BreakerState(IntEnum):
    """The state of a breaker; the value is that of the metric."""

    CLOSED = 0  # lets everything through
    HALF_OPEN = 1  # lets one request through at a time: the server answers probes again
    OPEN = 2  # lets nothing through


class CircuitBreaker:
    """The breaker of one server. Its `name` spreads the probes of many clusters."""

    def __init__(self, name: str) -> None:
        self.state = BreakerState.CLOSED
        self._name = name
        self._unanswered: set[SourceRef] = set()
        # The last two namespaces that were answered, and when.
        self._answered: dict[str, float] = {}
        self._openings = 0
        self._retry_at = 0.0
        self._probing = False

    def blocked_until(self, now: float) -> float:
        """Return when to ask again: `now` if a request may start."""
        if self.state is not BreakerState.OPEN:
            return now
        return now + RECHECK_SECONDS if self._probing else self._retry_at

    def acquire_probe(self, now: float) -> bool:
        """Return True if the caller must probe; nobody else does until `record_probe`."""
        if self.state is not BreakerState.OPEN or now < self._retry_at:
            return False
        # If the caller never records a result, the next one takes over.
        self._retry_at = now + _PROBE_TIMEOUT
        self._probing = True
        return True

    def record_probe(self, now: float, *, alive: bool) -> None:
        if self.state is BreakerState.OPEN and self._probing:
            self._probing = False
            if alive:
                self.state = BreakerState.HALF_OPEN
            else:
                self._open(now)

    def record_outcome(
        self, ref: SourceRef, now: float, *, answered: bool, proven: bool = True
    ) -> None:
        """Note whether the server has answered a token request, of a client with a success before.

        Other clients may be made up, for any number of namespaces.
        """
        if answered:
            self.state = BreakerState.CLOSED
            self._unanswered.clear()
            self._openings = 0
            self._answered.pop(ref.namespace, None)
            self._answered = dict([*self._answered.items()][-1:]) | {ref.namespace: now}
            return
        others = any(token.namespace != ref.namespace for token in self._unanswered)
        is_closed = self.state is BreakerState.CLOSED
        others_answered = is_closed and self._is_answered(now, but=ref.namespace)
        if others_answered and not proven:
            return
        if others or len(self._unanswered) < _FAILURE_THRESHOLD:
            self._unanswered.add(ref)
        if others_answered and not others:
            # Perhaps it is only what this namespace sends.
            return
        threshold = 1 if self.state is BreakerState.HALF_OPEN else _FAILURE_THRESHOLD
        if self.state is not BreakerState.OPEN and len(self._unanswered) >= threshold:
            self._open(now)

    def _is_answered(self, now: float, but: str) -> bool:
        """Return True if another namespace was answered not long ago."""
        answers = {**self._answered, but: -math.inf}.values()
        return any(now < at + _ANSWER_SECONDS for at in answers)

    def _open(self, now: float) -> None:
        pause = min(_MAX_PAUSE, _MIN_PAUSE * 2.0 ** min(self._openings, 10))
        self.state = BreakerState.OPEN
        self._retry_at = now + pause * (0.5 + stable_jitter(self._name, self._openings) / 2)
        self._openings += 1
        self._unanswered.clear()
