"""When to ask whether the user has confirmed a device code (RFC 8628 sections 3.4 and 3.5)."""

from dataclasses import dataclass, replace
from enum import Enum

DEFAULT_INTERVAL = 5.0
SLOW_DOWN_STEP = 5.0
# A server that asks for less or more errs: nobody waits minutes after he has confirmed.
MIN_INTERVAL, MAX_INTERVAL = 1.0, 60.0
# RFC 8628 section 3.2 demands `expires_in`; this is for a server that omits it.
DEFAULT_LIFETIME, MAX_LIFETIME = 600.0, 3600.0
# 2**6 intervals of a second are a minute.
_MOST_DOUBLINGS = 6


class PollAnswer(Enum):
    """An answer after which the client goes on asking."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    # No answer, or one that no token endpoint gives: a gateway's error.
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """The time of the next request. Instants are of the caller's monotonic clock."""

    interval: float
    expires_at: float
    unanswered: int = 0

    @classmethod
    def start(cls, now: float, interval: object, lifetime: object) -> "PollSchedule":
        """Begin with the `interval` and the `expires_in` of a device authorization response."""
        seconds = _bounded(interval, DEFAULT_INTERVAL, MIN_INTERVAL, MAX_INTERVAL)
        return cls(seconds, now + _bounded(lifetime, DEFAULT_LIFETIME, 1.0, MAX_LIFETIME))

    @property
    def delay(self) -> float:
        """The seconds until the next request: doubled with each that had no answer."""
        doubled = self.interval * 2.0 ** min(self.unanswered, _MOST_DOUBLINGS)
        return max(self.interval, min(doubled, MAX_INTERVAL))

    def after(self, answer: PollAnswer) -> "PollSchedule":
        """Return the schedule after an answer; `slow_down` makes every later wait longer."""
        if answer is PollAnswer.MISSING:
            return replace(self, unanswered=self.unanswered + 1)
        step = SLOW_DOWN_STEP if answer is PollAnswer.SLOW_DOWN else 0.0
        return replace(self, interval=self.interval + step, unanswered=0)

    def is_over(self, now: float) -> bool:
        """Return True if the code expires before the next request."""
        return now + self.delay > self.expires_at


def _bounded(value: object, default: float, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return default
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return default
    # A NaN compares as False with all.
    return min(max(number, least), most) if number == number else default  # noqa: PLR0124
