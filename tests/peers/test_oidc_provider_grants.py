"""Grants without a refresh token, and clients that sign assertions, at npm's oidc-provider."""

from collections.abc import Iterator

import jwt
import pytest

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import Params
from csidriver.core.oauth.token_form import client_credentials_form
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.demo.grants.signing import signing_key
from tests.peers.oidcprovider import SHORT, OidcProvider, Registered

pytestmark = pytest.mark.tools("oidc-provider")

TIMEOUT = 10.0  # seconds
STORAGE, OTHER_STORAGE = "https://storage.example/a", "https://storage.example/b"
RSA, EC = signing_key(), signing_key("ES256", "second")
ROBOT = Client("robot", Sensitive("secret of robot"))
# A client that may not use client_credentials.
OTHER = Client("other", Sensitive("secret of other"))
SIGNERS = {
    key.algorithm: Client(key.algorithm, Sensitive(""), key.private_pem) for key in (RSA, EC)
}
GRANTS = {"grant_types": ["client_credentials", "authorization_code", "refresh_token"]}
KEYS = {"jwks": {"keys": [*RSA.jwks["keys"], *EC.jwks["keys"]]}}
CLIENTS = (
    Registered(ROBOT, lifetime=SHORT, more=GRANTS),
    Registered(OTHER),
    *(
        Registered(client, auth="private_key_jwt", lifetime=SHORT, more=GRANTS | KEYS)
        for client in SIGNERS.values()
    ),
)


@pytest.fixture
def peer() -> Iterator[OidcProvider]:
    with OidcProvider(CLIENTS) as server:
        yield server


def request(
    endpoints: TokenEndpoints, issuer: Issuer, client: Client, *params: tuple[str, str]
) -> TokenResponse:
    return endpoints.request(issuer, client, client_credentials_form(issuer, params), TIMEOUT)


def signing_issuer(peer: OidcProvider, audience: str = "") -> Issuer:
    return Issuer(
        "peer",
        issuer=peer.issuer,
        internal=True,
        client_auth="private_key_jwt",
        assertion_audience=audience,
    )


@pytest.mark.parametrize("algorithm", SIGNERS)
@pytest.mark.parametrize("audience", ["", "tokenEndpoint"], ids=["issuer", "token endpoint"])
def test_the_server_believes_an_assertion(
    peer: OidcProvider, algorithm: str, audience: str
) -> None:
    endpoints, issuer = TokenEndpoints(), signing_issuer(peer, audience)
    for _ in range(2):
        assert isinstance(request(endpoints, issuer, SIGNERS[algorithm]), Success)


@pytest.mark.parametrize(
    ("client", "audience"),
    [
        (Client("RS256", Sensitive(""), signing_key("RS256", "of nobody").private_pem), ""),
        (SIGNERS["RS256"], "https://elsewhere.example"),
    ],
    ids=["another key", "another audience"],
)
def test_the_server_refuses_another_assertion(
    peer: OidcProvider, client: Client, audience: str
) -> None:
    outcome = request(TokenEndpoints(), signing_issuer(peer, audience), client)
    assert outcome == Failure(FailureReason.INVALID_CLIENT)


def test_an_answer_that_is_lost_on_a_kept_connection_costs_no_assertion(
    peer: OidcProvider,
) -> None:
    endpoints, issuer = TokenEndpoints(), signing_issuer(peer)
    assert isinstance(request(endpoints, issuer, SIGNERS["RS256"]), Success)
    peer.lose_next("answer")
    assert isinstance(request(endpoints, issuer, SIGNERS["RS256"]), Success)


@pytest.mark.parametrize(
    ("client", "params", "reason"),
    [
        (ROBOT, (("resource", STORAGE), ("resource", OTHER_STORAGE)), FailureReason.INVALID_SCOPE),
        (ROBOT, (("resource", "https://elsewhere.example/"),), FailureReason.INVALID_SCOPE),
        (OTHER, (), FailureReason.INVALID_REQUEST),
    ],
    ids=["two resources", "unknown resource", "grant not allowed"],
)
def test_the_server_refuses_what_a_client_may_not_have(
    peer: OidcProvider, client: Client, params: Params, reason: FailureReason
) -> None:
    issuer = Issuer("peer", issuer=peer.issuer, internal=True)
    assert request(TokenEndpoints(), issuer, client, *params) == Failure(reason)


def test_a_client_gets_a_token_for_one_resource(peer: OidcProvider) -> None:
    issuer = Issuer("peer", issuer=peer.issuer, internal=True)
    params = (("resource", STORAGE), ("scope", "read"))
    outcome = request(TokenEndpoints(), issuer, ROBOT, *params)
    assert isinstance(outcome, Success)
    token = outcome.reply.access_token
    assert token is not None
    claims = jwt.decode(token.reveal(), options={"verify_signature": False})
    assert (claims["aud"], claims["scope"], claims["sub"]) == (STORAGE, "read", ROBOT.client_id)
    assert outcome.reply.refresh_token is None
