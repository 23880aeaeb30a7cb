"""Grants without a refresh token, and clients without a secret, at Keycloak: `make test-keycloak`.

Collected only when named, for it takes minutes and Maven.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.token_form import token_form
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.sensitive import Sensitive
from tests.adapters.oauth.peer import refresh
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tests.demo.grants.signing import signing_key
from tests.peers.keycloak import Keycloak, Realm
from tests.peers.keycloak_grants import (
    COMPUTE,
    JOB,
    ROBOT,
    SIGNER,
    STORAGE,
    TOKEN_EXCHANGE,
    grants_realm,
    service_account_token,
    trust_cluster,
)
from tests.peers.rig import Rig, claims_in, own_token
from tests.refresher.bench import NAMESPACE
from tests.waiting import until

pytestmark = pytest.mark.tools("keycloak")

# Seconds that access tokens live where a test waits for renewals; one comes after half of that.
LIFETIME = 6
MINUTE = 60.0
TENANTS_MAY = {"allowedParams": ["scope", "audience", "resource"]}
Build = Callable[..., Rig]


@pytest.fixture(scope="module")
def realm(keycloak: Keycloak) -> Realm:
    return grants_realm(keycloak, "requests", 60)


def ready(rig: Rig, *names: str) -> bool:
    return all(rig.refreshed(name) for name in names)


def until_renewed(rig: Rig, name: str, times: int = 2) -> None:
    target = rig.grant(name).generation + times
    until(lambda: rig.grant(name).generation >= target, f"{name} is renewed", MINUTE)
    assert rig.status(name) == "Ready"


def token_of(outcome: TokenResponse) -> Sensitive:
    assert isinstance(outcome, Success), outcome
    token = outcome.reply.access_token
    assert token is not None
    return token


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        (("audience", "nowhere"), FailureReason.INVALID_CLIENT),
        (("audience", COMPUTE), FailureReason.INVALID_REQUEST),
        (("scope", "unknown"), FailureReason.INVALID_SCOPE),
    ],
    ids=["audience that is no client", "audience without its scope", "scope"],
)
def test_what_an_exchange_cannot_have_is_refused(
    realm: Realm, param: tuple[str, str], reason: FailureReason
) -> None:
    login = token_of(refresh(realm.issuer, realm.seed(client=ROBOT), ROBOT))
    form = token_form(realm.issuer, GrantType.TOKEN_EXCHANGE, login, (param,))
    assert TokenEndpoints().request(realm.issuer, ROBOT, form, 30.0) == Failure(reason)


def test_a_client_signs_its_assertions(realm: Realm) -> None:
    issuer = replace(realm.issuer, client_auth="private_key_jwt")
    assert claims_in(token_of(own_token(issuer, SIGNER)))["azp"] == SIGNER.client_id
    stranger = replace(SIGNER, private_key=signing_key(kid="of nobody").private_pem)
    assert own_token(issuer, stranger) == Failure(FailureReason.INVALID_CLIENT)


def test_a_client_gets_its_own_token_until_its_service_account_ends(
    build: Build, keycloak: Keycloak
) -> None:
    realm = grants_realm(keycloak, "own", LIFETIME)
    rig = build(realm, ROBOT, **TENANTS_MAY)
    rig.apply_grant("robot", "client_credentials", scope=COMPUTE)
    until(lambda: ready(rig, "robot"))
    assert rig.claims("robot")["aud"] == COMPUTE
    until_renewed(rig, "robot")
    keycloak.change_client("own", ROBOT.client_id, serviceAccountsEnabled=False)
    until(lambda: rig.status("robot") == "ClientRejected", "the grant is switched off", MINUTE)
    keycloak.change_client("own", ROBOT.client_id, serviceAccountsEnabled=True)
    rig.apply_grant("robot", "client_credentials", scope=f"{COMPUTE} {STORAGE}")
    until(lambda: ready(rig, "robot"), "the grant is switched on", MINUTE)
    assert set(rig.claims("robot")["aud"]) == {COMPUTE, STORAGE}


def test_a_token_is_derived_from_a_login_and_follows_it(build: Build, keycloak: Keycloak) -> None:
    realm = grants_realm(keycloak, "derived", LIFETIME)
    rig = build(realm, ROBOT, **TENANTS_MAY)
    scope = f"openid {STORAGE} {COMPUTE}"
    rig.apply("hello", realm.seed(client=ROBOT, scope=scope))
    rig.apply_grant("narrow", "token-exchange", login="hello", audience=COMPUTE, scope=COMPUTE)
    until(lambda: ready(rig, "hello", "narrow"))
    assert set(rig.claims("hello")["aud"]) == {STORAGE, COMPUTE}
    assert rig.claims("narrow")["aud"] == COMPUTE
    until_renewed(rig, "hello")
    until(lambda: rig.grant("narrow").login_generation >= rig.grant("hello").generation - 1)
    assert rig.status("narrow") == "Ready"
    keycloak.change_client("derived", ROBOT.client_id, attributes={TOKEN_EXCHANGE: "false"})
    until(lambda: rig.status("narrow") != "Ready", "the exchange is switched off", MINUTE)
    until_renewed(rig, "hello")
    keycloak.change_client("derived", ROBOT.client_id, attributes={TOKEN_EXCHANGE: "true"})
    until(lambda: ready(rig, "narrow"), "the exchange is switched on", MINUTE)
    keycloak.log_out("derived")
    until(lambda: rig.status("hello") == "NeedsReauth", "the session has ended", MINUTE)
    until(lambda: rig.status("narrow") == "WaitsForLogin", "so has what is derived", MINUTE)
    assert "Secret hello" in rig.message("narrow")
    rig.apply("hello", realm.seed(client=ROBOT, scope=scope))
    until(lambda: ready(rig, "hello", "narrow"), "a new login helps both")


@pytest.mark.tools(*PROGRAMS)
def test_a_service_account_token_authenticates_and_is_read_at_each_request(
    build: Build, keycloak: Keycloak, control_plane: ControlPlane, tmp_path: Path
) -> None:
    realm = grants_realm(keycloak, "federated", LIFETIME)
    trust_cluster(keycloak, "federated", control_plane)
    file = tmp_path / "token"
    file.write_text(service_account_token(control_plane, realm.url))
    clients = [{"clientID": JOB.client_id, "namespaces": [NAMESPACE]}]
    trusted = {"clientAuth": "assertion", "assertion": {"file": str(file)}, "clients": clients}
    rig = build(realm, JOB, **trusted, **TENANTS_MAY)
    rig.apply_grant("job", "client_credentials")
    until(lambda: ready(rig, "job"))
    assert rig.claims("job")["azp"] == JOB.client_id
    until_renewed(rig, "job")
    file.write_text(service_account_token(control_plane, "https://elsewhere.example"))
    until(lambda: rig.status("job") == "ClientRejected", "it is for another audience", MINUTE)
    file.write_text(service_account_token(control_plane, realm.url))
    rig.apply_grant("job", "client_credentials", scope="openid")
    until(lambda: ready(rig, "job"), "the file has another token", MINUTE)
    keycloak.change_client("federated", JOB.client_id, serviceAccountsEnabled=False)
    until(lambda: rig.status("job") == "ClientRejected", "the grant is switched off", MINUTE)
    assert "may not use the grant client_credentials" in rig.message("job")
