"""The refresher against Keycloak with "Revoke Refresh Token": `make test-keycloak`.

Collected only when named, for it takes minutes and Maven.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core import annotations as core_annotations
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.sensitive import Sensitive
from tests.adapters.oauth.peer import refresh
from tests.peers.keycloak import CLIENT, Keycloak
from tests.peers.rig import Rig
from tests.waiting import until

pytestmark = pytest.mark.tools("keycloak")

# Seconds. A refresh comes after some 27 of a life of 60.
ONE_REFRESH = 45.0
TWO_REFRESHES = 90.0
SESSION = 150
MINUTE = 60.0
Build = Callable[..., Rig]


def statuses(rig: Rig, name: str) -> set[str]:
    companion = rig.companion(name)
    told = "" if companion is None else companion.annotations[core_annotations.STATUS]
    return {rig.status(name), told}


def test_tokens_stay_ready_over_rotations(build: Build, keycloak: Keycloak) -> None:
    realms = [keycloak.realm(f"reuse-{n}", refreshTokenMaxReuse=n) for n in (0, 1)]
    rigs = [(realm, build(realm)) for realm in realms]
    names = ("online", "offline")
    for realm, rig in rigs:
        for name in names:
            rig.apply(name, realm.seed(offline=name == "offline"))
    tokens = [(rig, name) for _, rig in rigs for name in names]
    until(lambda: all(rig.refreshed(name) for rig, name in tokens))
    first = {(rig, name): rig.live(name) for rig, name in tokens}
    until(
        lambda: all(rig.grant(name).generation >= 4 for rig, name in tokens),
        "three exchanges each",
        TWO_REFRESHES,
    )
    for rig, name in tokens:
        assert rig.status(name) == "Ready"
        assert rig.live(name) != first[rig, name]


def test_the_end_of_a_session_is_no_lost_rotation(build: Build, keycloak: Keycloak) -> None:
    realm = keycloak.realm("session", ssoSessionMaxLifespan=SESSION)
    rig = build(realm)
    rig.apply("hello", realm.seed())
    until(lambda: rig.refreshed("hello"))

    def has_ended() -> bool:
        assert "LostRotation" not in statuses(rig, "hello")
        return statuses(rig, "hello") == {"NeedsReauth"}

    until(has_ended, "the session has ended", SESSION + MINUTE, pause=0.1)


def test_a_changed_client_secret_is_told_and_its_correction_helps(
    build: Build, keycloak: Keycloak
) -> None:
    realm = keycloak.realm("secret")
    rig = build(realm)
    rig.apply("hello", realm.seed())
    until(lambda: rig.refreshed("hello"))
    keycloak.change_client("secret", CLIENT.client_id, secret="another secret")
    rig.client = replace(CLIENT, client_secret=Sensitive("another secret"))
    until(lambda: statuses(rig, "hello") == {"ClientRejected"}, "a refresh", ONE_REFRESH)
    message = rig.source("hello").annotations[core_annotations.MESSAGE]
    assert "clientID or clientSecret is refused; correct them" in message
    generation = rig.grant("hello").generation
    rig.apply("hello", rig.live("hello"))
    until(lambda: statuses(rig, "hello") == {"Ready"}, "the correction helps", ONE_REFRESH)
    assert rig.grant("hello").generation > generation


def test_the_last_token_may_be_presented_twice_and_introspection_tells_what_lives(
    keycloak: Keycloak,
) -> None:
    realm, endpoints = keycloak.realm("twice", refreshTokenMaxReuse=1), TokenEndpoints()
    seed = realm.seed()
    assert endpoints.introspect(realm.issuer, CLIENT, seed, 10.0) is Introspection.ACTIVE
    outcomes = [refresh(realm.issuer, seed, CLIENT) for _ in range(3)]
    assert [isinstance(outcome, Success) for outcome in outcomes[:2]] == [True, True]
    assert outcomes[2] == Failure(FailureReason.INVALID_GRANT)
    keycloak.log_out("twice")
    assert endpoints.introspect(realm.issuer, CLIENT, seed, 10.0) is Introspection.INACTIVE
