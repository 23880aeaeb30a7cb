"""An authorization server: strict, with a reuse window, without rotation, forking, or lying."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.token_form import Form
from csidriver.core.oauth.token_response import TokenResponse, parse_token_response
from csidriver.core.sensitive import Sensitive
from tests.simulator.grants.issuing import SCOPE, IssuedTokens

POLICIES = ("strict", "window", "unlimited", "forking", "lying")


@dataclass
class Server:
    """Token families by login. `false_refusal_rate`: how often it refuses a valid token."""

    policy: str
    lifetime: float
    window: float = 0.0
    false_refusal_rate: float = 0.0
    introspects: bool = False
    families: dict[str, list[str]] = field(default_factory=dict)
    rotated_at: dict[str, float] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    falsely_refused: set[str] = field(default_factory=set)
    issued: Counter[str] = field(default_factory=Counter)
    access_tokens: IssuedTokens = field(init=False)

    def __post_init__(self) -> None:
        self.access_tokens = IssuedTokens(self.lifetime)

    def login(self, name: str) -> str:
        """Begin a new family; return its first refresh token."""
        self.families[name] = [f"{name}-0"]
        return f"{name}-0"

    def accepts(self, token: str, now: float) -> bool:
        """Return True if a request would succeed, except for a false refusal."""
        name = token.rpartition("-")[0]
        family = self.families.get(name, [])
        if token not in family or name in self.dead:
            return False
        if self.policy in ("unlimited", "forking") or token == family[-1]:
            return True
        return token in family[-2:-1] and now < self.rotated_at.get(name, 0.0) + self.window

    def present(self, token: str, now: float, rng: Random) -> TokenResponse:
        """Serve a token request, which may consume the token or revoke the family."""
        name = token.rpartition("-")[0]
        if not self.accepts(token, now):
            self.dead.add(name)
            return token_response(400, {"error": "invalid_grant"}, now)
        if self.false_refusal_rate and rng.random() < self.false_refusal_rate:
            self.falsely_refused.add(token)
            return token_response(400, {"error": "invalid_grant"}, now)
        family = self.families[name]
        if self.policy != "unlimited" and (self.policy == "forking" or token == family[-1]):
            family.append(f"{name}-{len(family)}")
            self.rotated_at[name] = now
        self.issued[name] += 1
        body = {"access_token": f"at-{family[-1]}.{self.issued[name]}", "token_type": "Bearer"}
        if self.policy != "unlimited":
            body["refresh_token"] = family[-1]
        self.access_tokens.record(body["access_token"], name, now)
        return token_response(200, body | {"expires_in": self.lifetime, "scope": SCOPE}, now)

    def request(self, client: str, form: Form, now: float) -> TokenResponse:
        """Serve a token request that consumes nothing."""
        return token_response(*self.access_tokens.answer(client, form, self.dead, now), now)

    def introspect(self, token: str) -> Introspection:
        """Answer an introspection (RFC 7662), which ignores the reuse window."""
        if not self.introspects:
            return Introspection.REFUSED
        name = token.rpartition("-")[0]
        family = self.families.get(name, [])
        kept = self.policy in ("unlimited", "forking")
        active = name not in self.dead and (token in family if kept else family[-1:] == [token])
        return Introspection.ACTIVE if active else Introspection.INACTIVE


def token_response(
    status: int, body: Mapping[str, Any], now: float, retry_after: str = ""
) -> TokenResponse:
    """Parse a response as production does."""
    return parse_token_response(status, Sensitive(json.dumps(body)), retry_after, now)
