"""Authorization servers in virtual time."""

import json
from collections import Counter, deque
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
class TokenFamilies:
    """The refresh tokens of each login. A spent one kills its family (RFC 9700 4.14).

    A `policy` of "unlimited" never rotates, one of "forking" takes every token of a family. For
    `window` seconds the predecessor of the newest one is still served.
    """

    lifetime: float = 3600.0
    window: float = 0.0
    policy: str = "strict"
    introspects: bool = False
    families: dict[str, list[str]] = field(default_factory=dict)
    rotated_at: dict[str, float] = field(default_factory=dict)
    issued: Counter[str] = field(default_factory=Counter)
    # Further fields of each reply.
    more: Callable[[float], dict[str, Any]] = lambda _: {}

    def login(self, name: str) -> str:
        """A new family; its first refresh token."""
        self.families[name] = [f"{name}-0"]
        return f"{name}-0"

    def family(self, token: str) -> list[str]:
        return self.families.get(token.rpartition("-")[0], [])

    def accepts(self, token: str, now: float) -> bool:
        """Return True if a request would succeed."""
        family = self.family(token)
        if token in family and self.policy in ("unlimited", "forking"):
            return True
        rotated_at = self.rotated_at.get(token.rpartition("-")[0], 0.0)
        return token in family[-1:] or (token in family[-2:-1] and now < rotated_at + self.window)

    def serve(self, token: str, now: float) -> TokenResponse:
        """Answer a refresh request, which may rotate the token or revoke its family."""
        name = token.rpartition("-")[0]
        if not self.accepts(token, now):
            self.families.pop(name, None)
            return answer(400, {"error": "invalid_grant"}, now)
        family = self.families[name]
        if self.policy == "forking" or (self.policy != "unlimited" and token == family[-1]):
            family.append(f"{name}-{len(family)}")
            self.rotated_at[name] = now
        self.issued[name] += 1
        fresh = {"access_token": f"at-{name}-{self.issued[name]}", "token_type": "Bearer"}
        if self.policy != "unlimited":
            fresh["refresh_token"] = family[-1]
        return answer(200, fresh | self.more(now) | {"expires_in": self.lifetime}, now)

    def is_active(self, token: str) -> bool:
        """Answer an introspection (RFC 7662), which ignores the reuse window."""
        family = self.family(token)
        return token in (family if self.policy in ("unlimited", "forking") else family[-1:])


@dataclass
class Server(TokenFamilies):
    """A server that does to the next requests what its `script` says.

    That is LOST_BEFORE, LOST_AFTER, or a ready outcome.
    """

    script: deque[str | TokenResponse] = field(default_factory=deque)
    presented: list[tuple[float, str]] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    alive: bool = True
    answers: deque[Introspection] = field(default_factory=deque)
    asked: list[tuple[float, str]] = field(default_factory=list)
    forms: list[tuple[float, str, list[tuple[str, str]]]] = field(default_factory=list)

    def tokens(self) -> list[str]:
        """The refresh tokens that were presented, in order."""
        return [token for _, token in self.presented]

    def present(self, token: str, now: float) -> TokenResponse:
        """Answer a refresh request as the script or the rules say."""
        self.presented.append((now, token))
        return self._follow_script(lambda: self.serve(token, now), token)

    def issue(self, client: str, form: list[tuple[str, str]], now: float) -> TokenResponse:
        """Answer a request that consumes nothing, as the script says or with a new token."""
        self.forms.append((now, client, form))

        def serve() -> TokenResponse:
            self.issued[""] += 1
            fresh = {"access_token": f"issued-{self.issued['']}", "expires_in": self.lifetime}
            return answer(200, fresh | self.more(now) | {"token_type": "Bearer"}, now)

        return self._follow_script(serve)

    def _follow_script(self, serve: Callable[[], TokenResponse], token: str = "") -> TokenResponse:
        if not self.alive:
            return Failure(FailureReason.SERVER_ERROR)
        step = self.script.popleft() if self.script else ""
        if not isinstance(step, str):
            return step
        outcome = Failure(FailureReason.NO_ANSWER) if step == LOST_BEFORE else serve()
        if step:
            return Failure(FailureReason.NO_ANSWER)
        self.answered.add(token)
        return outcome

    def introspect(self, token: str, now: float) -> Introspection:
        """Tell whether a token is active, if the server tells that at all."""
        self.asked.append((now, token))
        if self.answers:
            return self.answers.popleft()
        if not self.alive:
            return Introspection.SILENT
        if not self.introspects:
            return Introspection.REFUSED
        return Introspection.ACTIVE if self.is_active(token) else Introspection.INACTIVE


def answer(
    status: int, body: Mapping[str, Any], now: float = START, retry_after: str = ""
) -> TokenResponse:
    """An answer as it comes off the wire."""
    return parse_token_response(status, Sensitive(json.dumps(body)), retry_after, now)
