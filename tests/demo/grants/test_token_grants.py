from collections.abc import Mapping
from typing import Any

import pytest

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import SCOPE, OAuthError, RegisteredClient, TokenFamilies
from csidriver.demo.grants.token_grants import (
    ACCESS_TOKEN,
    CLIENT_CREDENTIALS,
    TOKEN_EXCHANGE,
    TokenGrants,
)
from csidriver.demo.http_messages import Form
from csidriver.demo.jwt import verify_jwt
from tests.demo.conftest import Clock

KEY = b"k" * 32
ISSUER = "https://as.example"
APP = RegisteredClient("app", Sensitive("s3cret"), scope="read write")
OTHER = RegisteredClient("other", Sensitive("s3cret"))


class Server:
    """A server's grants, and a login of `app`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.families = TokenFamilies([APP, OTHER], key=KEY, lifetime=20.0, now=self.clock)
        self.grants = TokenGrants(self.families, now=self.clock)
        self.refresh_token = self.families.seed("app", None)
        self.login = self.refresh()

    def refresh(self) -> Sensitive:
        reply = self.families.refresh("app", self.refresh_token, scope="", issuer=ISSUER)
        self.refresh_token = Sensitive(str(reply["refresh_token"]))
        return Sensitive(str(reply["access_token"]))

    def ask(self, *pairs: tuple[str, str], client: RegisteredClient = APP) -> dict[str, object]:
        form = Form([("grant_type", CLIENT_CREDENTIALS), *pairs])
        return self.grants.redeem(client, form, ISSUER)

    def exchange(
        self, *pairs: tuple[str, str], client: RegisteredClient = APP, **changes: Any
    ) -> dict[str, object]:
        fields = {"subject_token": self.login.reveal(), "subject_token_type": ACCESS_TOKEN}
        form = Form([("grant_type", TOKEN_EXCHANGE), *(fields | changes).items(), *pairs])
        return self.grants.redeem(client, form, ISSUER)


@pytest.fixture
def server() -> Server:
    return Server()


def claims(reply: Mapping[str, object]) -> Mapping[str, Any]:
    read = verify_jwt(str(reply["access_token"]), KEY)
    assert read is not None
    return read


def test_a_client_gets_a_token_of_its_own_without_a_refresh_token(server: Server) -> None:
    reply = server.ask()
    assert set(reply) == {"access_token", "token_type", "expires_in", "scope"}
    token = claims(reply)
    assert (token["sub"], token["aud"], token["azp"]) == ("app", "app", "app")
    assert (token["exp"], reply["scope"]) == (server.clock.at + 20, "read write")
    pairs = [("audience", "storage"), ("audience", "other")]
    reply = server.ask(*pairs, ("resource", "https://storage.example/"), ("scope", "read"))
    token = claims(reply)
    assert token["aud"] == ["storage", "other", "https://storage.example/"]
    assert token["scope"] == reply["scope"] == "read"


@pytest.mark.parametrize(
    ("error", "pair"),
    [
        ("invalid_scope", ("scope", "read admin")),
        ("invalid_target", ("audience", "nowhere")),
        ("invalid_target", ("resource", "https://storage.example/#part")),
    ],
)
def test_what_a_client_may_not_have_is_refused(
    server: Server, error: str, pair: tuple[str, str]
) -> None:
    for ask in (server.ask, server.exchange):
        with pytest.raises(OAuthError) as refused:
            ask(("audience", "compute"), pair)
        assert refused.value.error == error == server.grants.requests()[-1].error


def test_a_public_client_gets_no_token_of_its_own(server: Server) -> None:
    with pytest.raises(OAuthError, match="unauthorized_client"):
        server.ask(client=RegisteredClient("public", None))


def test_an_exchange_narrows(server: Server) -> None:
    reply = server.exchange(("audience", "storage"), ("scope", "email"))
    token, login = claims(reply), verify_jwt(server.login.reveal(), KEY) or {}
    assert reply["issued_token_type"] == ACCESS_TOKEN
    assert (token["aud"], token["scope"], reply["scope"]) == (["storage"], "email", "email")
    assert (token["sub"], token["sid"], token["azp"]) == (login["sub"], login["sid"], "app")
    assert "refresh_token" not in reply
    token = claims(server.exchange())
    assert (token["aud"], token["scope"]) == ("app", SCOPE)


def test_only_a_client_that_a_token_is_for_may_exchange_it(server: Server) -> None:
    with pytest.raises(OAuthError) as refused:
        server.exchange(client=OTHER)
    assert refused.value.error == "access_denied"
    for_other = str(server.exchange(("audience", "other"))["access_token"])
    made = server.exchange(client=OTHER, subject_token=for_other)
    assert claims(made)["azp"] == "other"


def test_faulty_exchanges_are_refused(server: Server) -> None:
    other_type = "urn:ietf:params:oauth:token-type:refresh_token"
    faults: dict[str, Any] = {
        "subject_token": "no token",
        "requested_token_type": other_type,
        "actor_token": "x",
    }
    for name, value in faults.items():
        with pytest.raises(OAuthError) as refused:
            server.exchange(**{name: value})
        assert refused.value.error == "invalid_request"


def test_only_a_live_access_token_is_a_subject(server: Server) -> None:
    before = server.login
    server.clock.at += 20
    fresh = server.refresh()
    for token in (before, server.refresh_token):
        with pytest.raises(OAuthError, match="not a live access token"):
            server.exchange(subject_token=token.reveal())
    server.exchange(subject_token=fresh.reveal())
    family = server.families._family(server.refresh_token)
    assert family is not None
    family.revoked = True
    assert server.families.read_access_token(fresh) is None


def test_every_request_is_logged_and_no_token_is(server: Server) -> None:
    reply = server.exchange()
    row = server.grants.requests()[-1]
    assert (row.client_id, row.grant_type, row.error) == ("app", TOKEN_EXCHANGE, "")
    assert row.token_hash == Sensitive(str(reply["access_token"])).hash()
    assert row.requested_at == server.clock.at
    for secret in (server.login.reveal(), str(reply["access_token"])):
        assert secret not in repr(server.grants.requests())
