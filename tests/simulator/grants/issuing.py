"""The authorization server's side of grants whose token requests consume nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.token_form import Form

# What a login may do, and what the server gives to a client that may do more.
SCOPE, WIDE_SCOPE = "read write", "admin read write"
# The client of tokens that get the wider scope.
GREEDY_CLIENT = "greedy"


@dataclass(frozen=True)
class IssuedToken:
    """An access token; `family` is the login that it dies with, "" for a client's own."""

    expires_at: float
    scope: str
    family: str = ""
    exchanged: bool = False


@dataclass
class IssuedTokens:
    """All access tokens. `refusal` is the error for a dead one that is exchanged.

    Every third reply to such a request has a refresh token that nobody has asked for.
    """

    lifetime: float
    refusal: str = "invalid_request"
    tokens: dict[str, IssuedToken] = field(default_factory=dict)
    unasked: set[str] = field(default_factory=set)
    is_off: bool = False

    def record(self, access_token: str, family: str, now: float) -> None:
        self.tokens[access_token] = IssuedToken(now + self.lifetime, SCOPE, family)

    def answer(
        self, client: str, form: Form, families: Mapping[str, object], now: float
    ) -> tuple[int, Mapping[str, Any]]:
        fields = {name: value.reveal() for name, value in form}
        if self.is_off:
            return 400, {"error": "unauthorized_client"}
        if fields["grant_type"] == GrantType.CLIENT_CREDENTIALS.parameter:
            return 200, self._issue(f"cc-{client}", IssuedToken(now + self.lifetime, SCOPE))
        subject = self.tokens.get(fields["subject_token"])
        if subject is None or subject.expires_at <= now or subject.family not in {"", *families}:
            return 400, {"error": self.refusal}
        scope = WIDE_SCOPE if client == GREEDY_CLIENT else subject.scope
        fresh = IssuedToken(now + self.lifetime, scope, subject.family, exchanged=True)
        return 200, self._issue("tx", fresh)

    def _issue(self, prefix: str, token: IssuedToken) -> Mapping[str, Any]:
        number = len(self.tokens)
        self.tokens[f"{prefix}-{number}"] = token
        body = {
            "access_token": f"{prefix}-{number}",
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "scope": token.scope,
        }
        if number % 3 == 0:
            self.unasked.add(f"unasked-{number}")
            body["refresh_token"] = f"unasked-{number}"
        return body
