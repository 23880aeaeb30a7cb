"""The refresher against npm's oidc-provider with forced rotation; reuse revokes the whole grant."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import ENDPOINT_AUDIENCE, ISSUER_AUDIENCE
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.demo.grants.signing import signing_key
from tests.peers.oidcprovider import SHORT, OidcProvider, Registered
from tests.peers.rig import Rig, own_token
from tests.waiting import until

pytestmark = pytest.mark.tools("oidc-provider")

# Every character that the form encoding of RFC 6749 section 2.3.1 changes.
ODD = Sensitive("p:w%2B d+/=&~")
LASTING = Client("lasting", Sensitive("secret of lasting"))
FLEETING = Client("fleeting", Sensitive("secret of fleeting"))
POSTING = Client("posting", ODD)
PUBLIC = Client("public", Sensitive(""))
ENCODED = Client("en:coded +", ODD)
ROBOT = Client("robot", Sensitive("secret of robot"))
KEY = signing_key()
SIGNER = Client("signer", Sensitive(""), KEY.private_pem)
STORAGE = "https://storage.example/a"
GRANTS = {"grant_types": ["client_credentials", "authorization_code", "refresh_token"]}
CLIENTS = (
    Registered(LASTING),
    Registered(FLEETING, lifetime=SHORT),
    Registered(POSTING, auth="client_secret_post"),
    Registered(PUBLIC, auth="none"),
    Registered(ENCODED),
    Registered(ROBOT, lifetime=SHORT, more=GRANTS),
    Registered(SIGNER, "private_key_jwt", SHORT, more=GRANTS | {"jwks": KEY.jwks}),
)

Build = Callable[..., Rig]


@pytest.fixture
def peer() -> Iterator[OidcProvider]:
    with OidcProvider(CLIENTS) as server:
        yield server


@pytest.fixture
def build(tmp_path: Path, peer: OidcProvider) -> Iterator[Build]:
    rigs: list[Rig] = []

    def build(client: Client = LASTING, **fields: Any) -> Rig:
        rigs.append(Rig(tmp_path, peer.issuer, client, **fields))
        rigs[-1].start()
        return rigs[-1]

    yield build
    for rig in rigs:
        rig.close()


def test_it_stays_ready_over_rotations_and_presents_nothing_twice(
    build: Build, peer: OidcProvider
) -> None:
    rig = build(FLEETING)
    seed = peer.seed(FLEETING)
    rig.apply("hello", seed)
    until(lambda: len(peer.log().presented) >= 4)
    until(lambda: rig.live("hello").hash() not in peer.log().hashes, "the last one is stored")
    rig.stop()
    told = peer.log()
    assert rig.status("hello") == "Ready"
    assert told.hashes[0] == seed.hash()
    assert len(set(told.hashes)) == len(told.hashes)
    assert rig.live("hello").hash() not in told.hashes
    assert set(told.errors) == {""}


def test_a_replay_by_somebody_else_ends_in_needs_reauth_and_a_new_seed_helps(
    build: Build, peer: OidcProvider
) -> None:
    rig = build(FLEETING)
    seed = peer.seed(FLEETING)
    rig.apply("hello", seed)
    until(lambda: rig.refreshed("hello"))
    grant_type, token = "refresh_token", seed.reveal()
    thief = peer.post("/token", FLEETING, grant_type=grant_type, refresh_token=token)
    assert thief.json()["error"] == "invalid_grant"
    until(lambda: rig.status("hello") == "NeedsReauth")
    told = peer.log()
    ours = [row for row in told.presented if row["rt"] != seed.hash()]
    assert ours[-1]["error"] == "invalid_grant", "the newest token died with the grant"
    assert rig.live("hello"), "credentials are kept"
    fresh = peer.seed(FLEETING)
    rig.apply("hello", fresh)
    until(lambda: rig.status("hello") == "Ready")
    assert peer.log().hashes[len(told.hashes)] == fresh.hash()


@pytest.mark.parametrize(
    ("client", "method"),
    [(POSTING, "post"), (PUBLIC, ""), (ENCODED, "basic"), (SIGNER, "private_key_jwt")],
    ids=["post", "public", "basic, encoded", "key"],
)
def test_clients_authenticate(
    build: Build, peer: OidcProvider, client: Client, method: str
) -> None:
    rig = build(client, clientAuth=method)
    rig.apply("hello", peer.seed(client))
    until(lambda: rig.refreshed("hello"))
    assert [row["client"] for row in peer.log().presented] == [client.client_id]


@pytest.mark.parametrize(
    ("lost", "active", "status"), [("request", True, "Ready"), ("answer", False, "LostRotation")]
)
def test_the_server_says_whether_a_lost_exchange_spent_the_token(
    build: Build, peer: OidcProvider, lost: str, *, active: bool, status: str
) -> None:
    rig = build(defaultLifetime=SHORT)  # which spaces attempts until the first answer
    seed = peer.seed(LASTING)
    peer.lose_next(lost)
    rig.apply("hello", seed)
    until(lambda: rig.status("hello") == status)
    told = peer.log()
    assert [row["active"] for row in told.asked] == [active]
    assert (told.hashes, told.errors) == ([seed.hash()], [""])
    fresh = peer.seed(LASTING)
    rig.apply("hello", fresh)
    until(lambda: peer.log().hashes == [seed.hash(), fresh.hash()])


@pytest.mark.parametrize("audience", [ISSUER_AUDIENCE, ENDPOINT_AUDIENCE])
def test_the_server_believes_an_assertion(peer: OidcProvider, audience: str) -> None:
    settings: dict[str, Any] = {"client_auth": "private_key_jwt"}
    settings |= {"assertion_audience": audience}
    issuer = Issuer("peer", issuer=peer.issuer, internal=True, **settings)
    assert isinstance(own_token(issuer, SIGNER), Success)
    stranger = Client("signer", Sensitive(""), signing_key(kid="of nobody").private_pem)
    assert own_token(issuer, stranger) == Failure(FailureReason.INVALID_CLIENT)


def test_tokens_for_a_resource_are_renewed(build: Build, peer: OidcProvider) -> None:
    rig = build(ROBOT, allowedParams=["scope", "resource"])
    rig.apply_grant("robot", "client_credentials", resource=STORAGE, scope="read")
    until(lambda: len(peer.log().granted) >= 3)
    until(lambda: rig.refreshed("robot"))
    claims = rig.claims("robot")
    assert (claims["aud"], claims["scope"], claims["sub"]) == (STORAGE, "read", ROBOT.client_id)
    asked = {"client": ROBOT.client_id, "resource": STORAGE, "scope": "read", "error": ""}
    assert all(row == asked for row in peer.log().granted)
    assert peer.log().presented == []
