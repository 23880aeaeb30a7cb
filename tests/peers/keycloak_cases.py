"""The refresher against Keycloak with "Revoke Refresh Token": `make test-keycloak`.

Collected only when named, for it takes minutes and Maven.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure, Success
from tests.peers.keycloak import CLIENT, Keycloak, Realm
from tests.peers.rig import Rig
from tests.refresher.bench import until

pytestmark = pytest.mark.tools("keycloak")

TWO_REFRESHES = 90.0  # seconds; each comes after some 27 of a life of 60
Build = Callable[[Realm], Rig]


@pytest.fixture(scope="module")
def keycloak() -> Iterator[Keycloak]:
    with Keycloak() as server:
        yield server


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    with contextlib.ExitStack() as rigs:

        def build(realm: Realm) -> Rig:
            folder = tmp_path / realm.url.rpartition("/")[2]
            folder.mkdir()
            rig = rigs.enter_context(Rig(folder, realm.url, CLIENT))
            rig.start()
            return rig

        yield build


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


@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_a_replay_ends_in_needs_reauth_and_a_new_seed_helps(
    build: Build, keycloak: Keycloak, *, offline: bool
) -> None:
    realm = keycloak.realm(f"replay-{offline}".lower(), accessTokenLifespan=6)
    rig = build(realm)
    seed = realm.seed(offline=offline)
    rig.apply("hello", seed)
    until(lambda: rig.refreshed("hello"))
    outcome = TokenEndpoints().refresh(realm.issuer, CLIENT, seed, 10.0)
    assert outcome == Failure(FailureReason.INVALID_GRANT)
    until(lambda: rig.status("hello") == "NeedsReauth", "the newest token died with its session")
    rig.apply("hello", realm.seed(offline=offline))
    until(lambda: rig.status("hello") == "Ready")


def test_max_reuse_1_lets_the_last_token_be_presented_twice(keycloak: Keycloak) -> None:
    realm = keycloak.realm("twice", refreshTokenMaxReuse=1)
    seed, endpoints = realm.seed(), TokenEndpoints()
    outcomes = [endpoints.refresh(realm.issuer, CLIENT, seed, 10.0) for _ in range(3)]
    assert isinstance(outcomes[0], Success)
    assert isinstance(outcomes[1], Success)
    assert outcomes[2] == Failure(FailureReason.INVALID_GRANT)


def test_introspection_knows_a_live_token_and_a_dead_session(keycloak: Keycloak) -> None:
    realm = keycloak.realm("asked")
    seed, endpoints = realm.seed(), TokenEndpoints()
    assert endpoints.introspect(realm.issuer, CLIENT, seed, 10.0) is True
    (user,) = keycloak.administer("GET", "/admin/realms/asked/users")
    keycloak.administer("POST", f"/admin/realms/asked/users/{user['id']}/logout")
    assert endpoints.introspect(realm.issuer, CLIENT, seed, 10.0) is False
    assert endpoints.refresh(realm.issuer, CLIENT, seed, 10.0) == Failure(
        FailureReason.INVALID_GRANT
    )
