"""An authorization server: strict, with a reuse window, without rotation, forking, or lying."""

from dataclasses import dataclass, field
from random import Random

from csidriver.core.oauth.token_form import Form
from csidriver.core.oauth.token_response import Success, TokenResponse
from tests.core.refresh.virtual_server import TokenFamilies, answer
from tests.simulator.grants.issuing import SCOPE, IssuedTokens

POLICIES = ("strict", "window", "unlimited", "forking", "lying")


@dataclass
class Server(TokenFamilies):
    """All tokens. `false_refusal_rate`: how often it refuses a valid one."""

    false_refusal_rate: float = 0.0
    falsely_refused: set[str] = field(default_factory=set)
    access_tokens: IssuedTokens = field(init=False)

    def __post_init__(self) -> None:
        self.access_tokens = IssuedTokens(self.lifetime)
        self.more = lambda _: {"scope": SCOPE}

    def present(self, token: str, now: float, rng: Random) -> TokenResponse:
        lies = self.false_refusal_rate > 0 and self.accepts(token, now)
        if lies and rng.random() < self.false_refusal_rate:
            self.falsely_refused.add(token)
            return answer(400, {"error": "invalid_grant"}, now)
        outcome = self.serve(token, now)
        if isinstance(outcome, Success) and outcome.reply.access_token is not None:
            access_token = outcome.reply.access_token.reveal()
            self.access_tokens.record(access_token, token.rpartition("-")[0], now)
        return outcome

    def request(self, client: str, form: Form, now: float) -> TokenResponse:
        return answer(*self.access_tokens.answer(client, form, self.families, now), now)
