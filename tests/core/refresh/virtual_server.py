"""An authorization server in virtual time."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.token_response import Failure, TokenResponse, parse_token_response
from csidriver.core.sensitive import Sensitive

START = 1_800_000_000.0
LOST_BEFORE = "the request never arrives, the client cannot know"
LOST_AFTER = "the request is served, the answer is lost"


@dataclass
class Server:
    """A strict authorization server: a spent refresh token kills its family (RFC 9700 4.14).

    `window` seconds long the predecessor of the newest token is still served; `script` holds
    what happens to the next requests: LOST_BEFORE, LOST_AFTER, or a ready outcome.
    """

    lifetime: float = 3600.0
    window: float = 0.0
    families: dict[str, list[str]] = field(default_factory=dict)
    script: deque[str | TokenResponse] = field(default_factory=deque)
    presented: list[tuple[float, str]] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    rotated_at: float = 0.0
    introspects: bool = False
    alive: bool = True
    answers: deque[Introspection] = field(default_factory=deque)
    asked: list[tuple[float, str]] = field(default_factory=list)
    forms: list[tuple[float, str, list[tuple[str, str]]]] = field(default_factory=list)
    issued: int = 0
    # Further fields of each reply.
    more: Callable[[float], dict[str, Any]] = lambda _: {}

    def login(self, name: str) -> str:
        """A new family; its first refresh token."""
        self.families[name] = [f"{name}-0"]
        return f"{name}-0"

    def tokens(self) -> list[str]:
        """The refresh tokens that were presented, in order."""
        return [token for _, token in self.presented]

    def present(self, token: str, now: float) -> TokenResponse:
        """Answer a refresh request as the script or the rules say."""
        self.presented.append((now, token))
        if not self.alive:
            return Failure(FailureReason.SERVER_ERROR)
        step = self.script.popleft() if self.script else ""
        if not isinstance(step, str):
            return step
        if step == LOST_BEFORE:
            return Failure(FailureReason.NO_ANSWER)
        outcome = self._serve(token, now)
        if step == LOST_AFTER:
            return Failure(FailureReason.NO_ANSWER)
        self.answered.add(token)
        return outcome

    def issue(self, client: str, form: list[tuple[str, str]], now: float) -> TokenResponse:
        """Answer a request that consumes nothing, as the script says or with a new token."""
        self.forms.append((now, client, form))
        if not self.alive:
            return Failure(FailureReason.SERVER_ERROR)
        step = self.script.popleft() if self.script else ""
        if isinstance(step, str) and step:
            return Failure(FailureReason.NO_ANSWER)
        if not isinstance(step, str):
            return step
        self.issued += 1
        fresh = {"access_token": f"issued-{self.issued}", "expires_in": self.lifetime}
        return answer(200, fresh | self.more(now) | {"token_type": "Bearer"}, now)

    def introspect(self, token: str, now: float) -> Introspection:
        """Tell whether a token is the newest of its family (RFC 7662)."""
        self.asked.append((now, token))
        if self.answers:
            return self.answers.popleft()
        if not self.alive:
            return Introspection.SILENT
        if not self.introspects:
            return Introspection.REFUSED
        active = self.families.get(token.rpartition("-")[0], [])[-1:] == [token]
        return Introspection.ACTIVE if active else Introspection.INACTIVE

    def _serve(self, token: str, now: float) -> TokenResponse:
        name = token.rpartition("-")[0]
        family = self.families.get(name, [])
        in_window = token in family[-2:-1] and now < self.rotated_at + self.window
        if not family or (token != family[-1] and not in_window):
            self.families.pop(name, None)
            return answer(400, {"error": "invalid_grant"}, now)
        if not in_window:
            family.append(f"{name}-{len(family)}")
            self.rotated_at = now
        fresh = {"refresh_token": family[-1], "access_token": f"at-{family[-1]}"}
        fresh |= self.more(now)
        return answer(200, fresh | {"expires_in": self.lifetime, "token_type": "Bearer"}, now)


def answer(status: int, body: Mapping[str, Any], now: float = START) -> TokenResponse:
    """An answer as it comes off the wire."""
    return parse_token_response(status, Sensitive(json.dumps(body)), "", now)
