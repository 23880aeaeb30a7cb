"""One authorization server's gate: who may ask now, and when the others may come back.

Whoever has to wait gets an instant of his own, one after the other at the configured rate, so that
ten thousand tokens that are due at once come back one by one. No clock, no lock; all in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Success, TokenResponse
from csidriver.refresher.circuit_breaker import LOOK_AGAIN, BreakerState, CircuitBreaker

# A worker comes a little late, and the next one not later because of that: seconds of the rate.
TOLERANCE = 0.1
# Retry-After within these bounds, in seconds; `_UNTOLD` doubles where the server names none.
_LEAST_PAUSE, _MOST_PAUSE, _UNTOLD, _MOST_UNTOLD = 1.0, 3600.0, 2.0, 60.0
# A client that is refused: so many quick tries after 2, 4, 8 s, then one every half an hour.
_QUICK_TRIES, _HALF_HOUR = 3, 1800.0
# After a pause of the whole server the rate is halved, and comes back with so many successes.
_LEAST_SHARE, _RAMP = 1 / 16, 1 / 64
# Seconds after which what nobody asks for is forgotten, and between two looks for that.
_FORGET, _TIDY = 3600.0, 60.0

# Seconds after the end of its trouble in which a server's tokens recover one by one.
_AFTERMATH = 3600.0

_UNANSWERED = frozenset(
    {FailureReason.UNREACHABLE, FailureReason.NO_ANSWER, FailureReason.SERVER_ERROR}
)
# They prove that the client was let in.
_LET_IN = frozenset(
    {FailureReason.INVALID_GRANT, FailureReason.LOGIN_REQUIRED, FailureReason.INVALID_SCOPE}
)


class IssuerHealth(Enum):
    """What ails a server as a whole; the value is what operators are told."""

    NONE = "answers again"
    SILENT = "does not answer; no token is sent until it does"
    SLOWED = "asks several clients to slow down; it is asked less often until it answers again"


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """An answer: go ahead, or wait so many seconds.

    `probe`: look for a sign of life first, report it, and ask again. `refused`: the client is known
    to be refused; take that for the answer and ask nobody.
    """

    wait: float = 0.0
    probe: bool = False
    refused: bool = False


@dataclass(slots=True)
class _Pacer:
    """Instants handed out one after the other."""

    last: float = 0.0

    def reserve(self, earliest: float, step: float) -> float:
        self.last = max(earliest, self.last + step)
        return self.last


@dataclass(slots=True)
class _Client:
    """One client at this server. `told`: tokens that know that it is refused."""

    line: _Pacer = field(default_factory=_Pacer)
    throttles: int = 0
    throttled_until: float = 0.0
    rejections: int = 0
    rejected_until: float = 0.0
    in_flight: int = 0
    informed: set[SourceRef] = field(default_factory=set)
    used_at: float = 0.0

    def until(self, now: float) -> float:
        closed = max(self.throttled_until, self.rejected_until)
        if closed <= now and self.rejections and self.in_flight:
            return now + LOOK_AGAIN  # one of them tries for all
        return closed

    def refuses(self, ref: SourceRef, now: float) -> bool:
        """Whether a token is to be told now; it is told once, its own schedule knows the rest."""
        known = self.rejections > _QUICK_TRIES and now < self.rejected_until
        if not known or ref in self.informed:
            return False
        self.informed.add(ref)
        return True

    def heard(self, signal: FailureReason | None, pause: float | None, now: float) -> None:
        if signal is FailureReason.THROTTLED:
            if now >= self.throttled_until:  # else it was under way when another one was told
                self.throttles += 1
            untold = min(_MOST_UNTOLD, _UNTOLD ** min(self.throttles, 10))
            wanted = untold if pause is None else pause
            bounded = min(max(wanted, _LEAST_PAUSE), _MOST_PAUSE)
            self.throttled_until = max(self.throttled_until, now + bounded)
        elif signal is FailureReason.INVALID_CLIENT:
            if now >= self.rejected_until:  # else it was under way when another one was refused
                self.rejections += 1
                quick = self.rejections <= _QUICK_TRIES
                self.rejected_until = now + (2.0**self.rejections if quick else _HALF_HOUR)
        elif signal is None or signal in _LET_IN:
            self.throttles = self.rejections = 0
            self.rejected_until = 0.0
            self.informed.clear()


class IssuerLimits:
    """One server's rate, slots, pauses and breaker."""

    def __init__(self, name: str) -> None:
        self.breaker = CircuitBreaker(name)
        self.demanded = 0
        self.in_flight = 0
        self.share = 1.0
        self.used_at = 0.0
        self._slowed = False
        self._troubled_until = 0.0
        self._paused_until = 0.0
        self._throttled: tuple[str, float] = ("", 0.0)
        self._earliest = 0.0
        self._line, self._late = _Pacer(), _Pacer()
        self._slots: dict[SourceRef, tuple[float, str]] = {}
        self._clients: dict[str, _Client] = {}
        self._tidied_at = 0.0

    @property
    def waiting(self) -> int:
        """How many tokens were told to come back."""
        return len(self._slots)

    @property
    def trouble(self) -> IssuerHealth:
        """What ails the server now."""
        if self.breaker.state is not BreakerState.CLOSED:
            return IssuerHealth.SILENT
        return IssuerHealth.SLOWED if self._slowed else IssuerHealth.NONE

    def set_rate_factor(self, now: float) -> bool:
        """Whether what one token has to tell of this server was told for all of them."""
        return self.trouble is not IssuerHealth.NONE or now < self._troubled_until

    def acquire(self, issuer: Issuer, ref: SourceRef, client: str, now: float) -> SlotDecision:
        """Take a slot, to be given back with `heard` or `give_back`, or be told when to come."""
        self._tidy(now)
        at, who = self._slots.get(ref, (0.0, ""))
        waited = who == client
        if waited and now < at:
            return SlotDecision(at - now)
        if self.breaker.acquire_probe(now):
            return SlotDecision(probe=True)
        self._slots.pop(ref, None)
        self.demanded += not waited
        asking = self._clients.setdefault(client, _Client())
        asking.used_at = self.used_at = now
        if asking.refuses(ref, now):
            return SlotDecision(refused=True)
        at = self._admitted(issuer, asking, now, waited=waited)
        if at > now:
            self._slots[ref] = at, client
            return SlotDecision(at - now)
        self._earliest = max(self._earliest, now) + self._step(issuer)
        self.in_flight += 1
        asking.in_flight += 1
        return SlotDecision()

    def release(self, client: str) -> None:
        """Nothing is sent after all."""
        self.in_flight -= 1
        self._clients[client].in_flight -= 1

    def record_outcome(
        self, ref: SourceRef, client: str, outcome: TokenResponse, now: float
    ) -> None:
        """What was sent is over."""
        self.release(client)
        self._heed(ref, client, outcome, now)
        if self.trouble is not IssuerHealth.NONE:
            self._troubled_until = now + _AFTERMATH

    def _heed(self, ref: SourceRef, client: str, outcome: TokenResponse, now: float) -> None:
        signal = None if isinstance(outcome, Success) else outcome.reason
        pause = None if isinstance(outcome, Success) else outcome.pause
        asked = self._clients[client]
        asked.heard(signal, pause, now)
        self.breaker.record_outcome(ref, now, answered=signal not in _UNANSWERED)
        if signal is None:
            self.share = min(1.0, self.share + _RAMP)
            self._slowed = False
        if signal is FailureReason.THROTTLED:
            other, until = self._throttled
            if other not in ("", client) and until > now:
                self._paused_until = max(self._paused_until, min(until, asked.throttled_until))
                self.share = max(_LEAST_SHARE, self.share / 2)
                self._slowed = True
            self._throttled = client, asked.throttled_until

    def idle(self, now: float) -> bool:
        """Whether nobody has asked for long."""
        return not self.in_flight and now > self.used_at + _FORGET

    def _admitted(self, issuer: Issuer, asking: _Client, now: float, *, waited: bool) -> float:
        """When this one may go: `now`, or an instant that is reserved for it."""
        step = self._step(issuer)
        line = self._late if waited else self._line
        closed = max(self.breaker.until(now), self._paused_until)
        if closed > now:
            return line.reserve(closed, step)
        closed = asking.until(now)
        if closed > now:
            # A line of its own: what one client waits for is no place in the line of the others.
            return asking.line.reserve(closed, step)
        trying = self.breaker.state is BreakerState.HALF_OPEN
        if self.in_flight >= (1 if trying else issuer.in_flight):
            return line.reserve(now + LOOK_AGAIN, step)
        behind = not waited and max(self._line.last, self._late.last) > now
        if behind or now < self._earliest - TOLERANCE:
            return line.reserve(max(now, self._earliest), step)
        return now

    def _step(self, issuer: Issuer) -> float:
        return 1.0 / (issuer.rate * self.share)

    def _tidy(self, now: float) -> None:
        if now < self._tidied_at + _TIDY:
            return
        self._tidied_at = now
        self._slots = {r: slot for r, slot in self._slots.items() if slot[0] > now - _TIDY}
        self._clients = dict(_used(self._clients, now))


def _used(clients: Mapping[str, _Client], now: float) -> list[tuple[str, _Client]]:
    return [
        (name, one)
        for name, one in clients.items()
        if one.in_flight or one.until(now) > now or now < one.used_at + _FORGET
    ]
