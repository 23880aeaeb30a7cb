"""Policies and introspection, on injected time."""

import pytest

from csidriver.core.sensitive import Sensitive
from tests.demo.conftest import Clock
from tests.demo.test_families import CLIENTS, ISSUER, KEY, SEED, refresh, refusal
from tests.issuer.policy import Policy, PolicyFamilies


@pytest.fixture
def clock() -> Clock:
    return Clock()


def families(clock: Clock, policy: Policy | None = None) -> PolicyFamilies:
    made = PolicyFamilies(CLIENTS, key=KEY, policy=policy or Policy(), now=clock)
    made.seed("app", SEED)
    return made


@pytest.mark.parametrize(("waited", "tolerated"), [(4.9, True), (5.0, False)])
def test_grace_covers_the_predecessor_for_its_time(
    clock: Clock, waited: float, *, tolerated: bool
) -> None:
    state = families(clock, Policy(grace=5))
    second = refresh(state, SEED)
    clock.at += waited
    if tolerated:
        assert refresh(state, SEED) == second
        assert state.presentations()[-1].outcome == "reused"
        refresh(state, second)
    else:
        assert refusal(state, SEED) == ("invalid_grant", "replayed")


def test_grace_does_not_cover_an_older_ancestor(clock: Clock) -> None:
    state = families(clock, Policy(grace=3600))
    refresh(state, refresh(state, SEED))
    assert refusal(state, SEED) == ("invalid_grant", "replayed")


def test_introspection_knows_live_tokens_and_consumes_none(clock: Clock) -> None:
    state = families(clock)
    assert state.introspect("app", SEED)["active"] is True
    assert state.introspect("other", SEED) == {"active": False}
    reply = state.refresh("app", SEED, scope="", issuer=ISSUER)
    access, second = (Sensitive(str(reply[k])) for k in ("access_token", "refresh_token"))
    assert state.introspect("app", SEED) == {"active": False}
    assert state.introspect("app", access)["exp"] == clock.at + 20
    assert len(state.presentations()) == 1
    state.revoke(second)
    assert state.introspect("app", access) == {"active": False}
