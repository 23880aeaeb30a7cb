"""Grants without a refresh token, and clients that sign assertions, at npm's oidc-provider."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import ENDPOINT_AUDIENCE, ISSUER_AUDIENCE, Params
from csidriver.core.oauth.token_form import token_form
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.demo.grants.signing import signing_key
from tests.peers.oidcprovider import SHORT, OidcProvider, Registered
from tests.peers.rig import Rig
from tests.refresher.bench import until

pytestmark = pytest.mark.tools("oidc-provider")

TIMEOUT = 10.0  # seconds
TENANTS_MAY = {"allowedParams": ["scope", "resource"]}
STORAGE, OTHER_STORAGE = "https://storage.example/a", "https://storage.example/b"
RSA, EC = signing_key(), signing_key("ES256", "second")
ROBOT = Client("robot", Sensitive("secret of robot"))
LASTING = Client("lasting", Sensitive("secret of lasting"))
# A client that may not use client_credentials.
OTHER = Client("other", Sensitive("secret of other"))
SIGNERS = {
    key.algorithm: Client(key.algorithm, Sensitive(""), key.private_pem) for key in (RSA, EC)
}
GRANTS = {"grant_types": ["client_credentials", "authorization_code", "refresh_token"]}
KEYS = {"jwks": {"keys": [*RSA.jwks["keys"], *EC.jwks["keys"]]}}
CLIENTS = (
    Registered(ROBOT, lifetime=SHORT, more=GRANTS),
    Registered(LASTING, more=GRANTS),
    Registered(OTHER),
    *(
        Registered(client, auth="private_key_jwt", lifetime=SHORT, more=GRANTS | KEYS)
        for client in SIGNERS.values()
    ),
)

Build = Callable[..., Rig]


@pytest.fixture
def peer() -> Iterator[OidcProvider]:
    with OidcProvider(CLIENTS) as server:
        yield server


@pytest.fixture
def build(tmp_path: Path, peer: OidcProvider) -> Iterator[Build]:
    rigs: list[Rig] = []

    def build(client: Client = ROBOT, **fields: Any) -> Rig:
        rigs.append(Rig(tmp_path, peer.issuer, client, **fields))
        rigs[-1].start()
        return rigs[-1]

    yield build
    for rig in rigs:
        rig.close()


def request(
    endpoints: TokenEndpoints, issuer: Issuer, client: Client, *params: tuple[str, str]
) -> TokenResponse:
    return endpoints.request(
        issuer, client, token_form(issuer, GrantType.CLIENT_CREDENTIALS, None, params), TIMEOUT
    )


def signing_issuer(peer: OidcProvider, audience: str = ISSUER_AUDIENCE) -> Issuer:
    return Issuer(
        "peer",
        issuer=peer.issuer,
        internal=True,
        client_auth="private_key_jwt",
        assertion_audience=audience,
    )


@pytest.mark.parametrize("algorithm", SIGNERS)
@pytest.mark.parametrize("audience", [ISSUER_AUDIENCE, ENDPOINT_AUDIENCE])
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


def test_tokens_for_a_resource_are_renewed(build: Build, peer: OidcProvider) -> None:
    rig = build(**TENANTS_MAY)
    rig.apply_grant("robot", "client_credentials", resource=STORAGE, scope="read")
    until(lambda: len(peer.log().granted) >= 3)
    until(lambda: rig.refreshed("robot"))
    claims = rig.claims("robot")
    assert (claims["aud"], claims["scope"], claims["sub"]) == (STORAGE, "read", ROBOT.client_id)
    asked = {"client": ROBOT.client_id, "resource": STORAGE, "scope": "read", "error": ""}
    assert all(row == asked for row in peer.log().granted)
    assert peer.log().presented == []


def test_a_restart_sends_nothing_while_the_token_is_good(build: Build, peer: OidcProvider) -> None:
    rig = build(LASTING)
    rig.apply_grant("robot", "client_credentials")
    until(lambda: rig.refreshed("robot"))
    sent = len(peer.log().granted)
    rig.restart()
    rig.apply_grant("second", "client_credentials")
    until(lambda: rig.refreshed("second"), "the restarted one works")
    assert len(peer.log().granted) == sent + 1


@pytest.mark.parametrize("message", ["request", "answer"])
def test_a_lost_message_is_only_repeated(build: Build, peer: OidcProvider, message: str) -> None:
    rig = build(defaultLifetime=SHORT)  # which spaces attempts until the first answer
    peer.lose_next(message)
    rig.apply_grant("robot", "client_credentials")
    until(lambda: rig.refreshed("robot"))
    assert {row["error"] for row in peer.log().granted} == {""}
    assert peer.log().asked == []


def test_a_client_with_a_key_refreshes_a_login(build: Build, peer: OidcProvider) -> None:
    client = SIGNERS["RS256"]
    rig = build(client, clientAuth="private_key_jwt")
    rig.apply("hello", peer.seed(client))
    until(lambda: len(peer.log().presented) >= 3)
    rig.stop()
    assert rig.status("hello") == "Ready"
    assert set(peer.log().errors) == {""}
    assert len(set(peer.log().hashes)) == len(peer.log().hashes)
