"""A gateway in front of the authorization server, with one fault for some time.

The fault hits token requests, introspections and probes alike. Only a fault that begins between a
request and its answer, or that delays or compresses answers, lets a request reach the server.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from csidriver.core.oauth.discovery import answers_probe
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.introspection import Introspection, parse_introspection
from csidriver.core.oauth.token_response import (
    Failure,
    Success,
    TokenResponse,
    parse_token_response,
)
from csidriver.core.refresh import effects
from csidriver.core.sensitive import Sensitive
from tests.simulator.network import Network

_ROUND_TRIP = 0.1
_DELAY = 5.0


class Fault(Enum):
    """The fault; the value is a row of the table in the docs."""

    UNAVAILABLE = "503"
    BAD_GATEWAY = "502"
    PAGE = "HTML with 200"
    NOT_FOUND = "404"
    UNAUTHORIZED = "401 without error"
    UNTRUSTED = "untrusted certificate"
    REFUSED = "connection refused"
    SILENT = "no answer"
    SLOW = "answer after 5 s"
    GZIP = "compressed answer"  # which the adapter decodes: no fault any more


_RESPONSES = {
    Fault.UNAVAILABLE: (503, "no server is available"),
    Fault.BAD_GATEWAY: (502, "<html>bad gateway</html>"),
    Fault.PAGE: (200, "<html>we will be back soon</html>"),
    Fault.NOT_FOUND: (404, "404 page not found"),
    Fault.UNAUTHORIZED: (401, "authorization required"),
}
# The answers of a gateway that does not ask the server.
_WITHOUT_SERVER = (Fault.NOT_FOUND, Fault.UNAUTHORIZED)
_REASONS = {Fault.UNTRUSTED: FailureReason.TLS, Fault.REFUSED: FailureReason.UNREACHABLE}
_HARMLESS = (Fault.SLOW, Fault.GZIP)


@dataclass
class Gateway(Network):
    """The fault begins with the first exchange at or after `armed_at`, so that it meets one.

    From `silent_from` until then requests are dropped, and other connections refused. `in_flight`:
    the first request reaches the server, and its answer is the first victim.
    """

    fault: Fault = Fault.GZIP
    seconds: float = 0.0
    silent_from: float = math.inf
    armed_at: float = math.inf
    in_flight: bool = False
    began_at: float | None = None
    on_begin: Callable[[], None] = lambda: None
    met: int = 0
    sent_at: dict[str, float] = field(default_factory=dict)
    presentations: Counter[str] = field(default_factory=Counter)
    # Unknown outcomes of a token when the server last called it active.
    active_after: Counter[str] = field(default_factory=Counter)
    shortest_pause: float = math.inf
    lost: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    @property
    def ends_at(self) -> float:
        """The instant from which everything is answered again."""
        return math.inf if self.began_at is None else self.began_at + self.seconds

    def send(
        self, effect: effects.RequestToken, reply: Callable[[TokenResponse, float], None]
    ) -> None:
        """Serve a token request, or let the fault answer it."""
        token = effect.refresh_token.reveal()
        self._count(token, self.invariants.histories[effect.ref].unknown_outcomes[token])
        if self._is_early():
            return
        begins = self.began_at is None
        fault = self._meet()
        if fault is None or fault in _HARMLESS:
            outcome = self._serve(token)
            self._note_answer(effect, outcome)
            reply(outcome, _ROUND_TRIP + (_DELAY if fault is Fault.SLOW else 0.0))
            return
        is_cut = begins and self.in_flight and fault not in _WITHOUT_SERVER
        if is_cut and isinstance(self._serve(token), Success):
            self.lost.add(token)
        if fault in _RESPONSES:
            status, body = _RESPONSES[fault]
            parsed = parse_token_response(status, Sensitive(body), "", self.loop.now)
            reply(parsed, _ROUND_TRIP)
        elif fault is not Fault.SILENT:
            reason = FailureReason.NO_ANSWER if is_cut else _REASONS[fault]
            reply(Failure(reason), _ROUND_TRIP)

    def introspect(self, token: str) -> tuple[Introspection, float]:
        """Answer an introspection; the second result is the seconds it takes."""
        fault = self._meet()
        if fault in _RESPONSES:
            status, body = _RESPONSES[fault]
            return parse_introspection(status, Sensitive(body)), _ROUND_TRIP
        if fault is not None and fault not in _HARMLESS:
            return Introspection.SILENT, math.inf if fault is Fault.SILENT else _ROUND_TRIP
        answer = self.server.introspect(token)
        if answer is Introspection.INACTIVE:
            self.refused.add(token)
        for history in self.invariants.histories.values():
            if answer is Introspection.ACTIVE and history.unknown_outcomes[token]:
                self.active_after[token] = history.unknown_outcomes[token]
        return answer, _ROUND_TRIP + (_DELAY if fault is Fault.SLOW else 0.0)

    def probe(self) -> tuple[bool, float]:
        """Return the result of a probe, and the seconds it takes."""
        fault = self._meet()
        if fault in _RESPONSES:
            status, body = _RESPONSES[fault]
            return answers_probe(status, Sensitive(body)), _ROUND_TRIP
        if fault in (Fault.SILENT, Fault.SLOW):
            return fault is Fault.SLOW, math.inf if fault is Fault.SILENT else _ROUND_TRIP + _DELAY
        return fault is not Fault.REFUSED, _ROUND_TRIP  # a TLS error is an answer, too

    def _meet(self) -> Fault | None:
        """Return what an exchange meets now."""
        now = self.loop.now
        if now < self.armed_at:
            return Fault.REFUSED if self._is_early() else None
        if self.began_at is None:
            self.began_at = now
            self.on_begin()
        if now >= self.ends_at:
            return None
        self.met += 1
        return self.fault

    def _is_early(self) -> bool:
        return self.silent_from <= self.loop.now < self.armed_at

    def _serve(self, token: str) -> TokenResponse:
        outcome = self.server.present(token, self.loop.now, self.rng)
        self.loop.record("server", f"{token} -> {type(outcome).__name__}")
        self.invariants.on_response(token, outcome)
        return outcome

    def _count(self, token: str, unknown_outcomes: int) -> None:
        presented = unknown_outcomes - self.active_after[token] + 1
        self.presentations[token] = max(presented, self.presentations[token])
        self.shortest_pause = min(
            self.shortest_pause, self.loop.now - self.sent_at.get(token, -math.inf)
        )
        self.sent_at[token] = self.loop.now

    def _note_answer(self, effect: effects.RequestToken, outcome: TokenResponse) -> None:
        token = effect.refresh_token.reveal()
        if isinstance(outcome, Success):
            unknown = self.invariants.histories[effect.ref].unknown_outcomes
            self.active_after[token] = unknown[token]
        elif outcome.reason is FailureReason.INVALID_GRANT:
            self.refused.add(token)
