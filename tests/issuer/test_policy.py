"""Policies and introspection, on injected time."""

import pytest

from csidriver.core.sensitive import Sensitive
from csidriver.demo.jwt import verify_jwt
from tests.demo.test_families import CLIENTS, ISSUER, KEY, SEED, Clock, refresh, refusal
from tests.issuer.policy import Policy, PolicyFamilies


@pytest.fixture
def clock() -> Clock:
    return Clock()


def families(clock: Clock, policy: Policy | None = None) -> PolicyFamilies:
    made = PolicyFamilies(CLIENTS, key=KEY, policy=policy or Policy(), now=clock)
    made.seed("app", SEED)
    return made


@pytest.mark.parametrize(
    ("waited", "tolerated"), [(0.0, True), (4.9, True), (5.0, False), (60.0, False)]
)
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
    third = refresh(state, refresh(state, SEED))
    assert refusal(state, SEED) == ("invalid_grant", "replayed")
    assert refusal(state, third) == ("invalid_grant", "revoked")


def test_revoked_tokens_are_refused(clock: Clock) -> None:
    state = families(clock)
    state.revoke(SEED)
    assert refusal(state, SEED) == ("invalid_grant", "revoked")
    with pytest.raises(ValueError, match="no family"):
        state.revoke(Sensitive("never issued"))


def test_extra_fields_shape_the_reply(clock: Clock) -> None:
    state = families(clock, Policy(extra={"id_token": "x", "scope": None}))
    reply = state.refresh("app", SEED, scope="", issuer=ISSUER)
    assert (reply["id_token"], reply["scope"]) == ("x", None)


def test_tokens_are_bound_to_a_certificate_when_told(clock: Clock) -> None:
    state = families(clock)
    for bound in (False, True):
        state.policy = Policy(bound=bound)
        refreshed = state.refresh("app", state.seed("app", None), scope="", issuer=ISSUER)
        for reply in (refreshed, state.issue("app", "email")):
            assert ("cnf" in (verify_jwt(str(reply["access_token"]), KEY) or {})) == bound


def test_the_lifetime_may_change_and_have_passed(clock: Clock) -> None:
    state = families(clock)
    state.policy = Policy(lifetime=-5)
    reply = state.issue("app", "email")
    claims = verify_jwt(str(reply["access_token"]), KEY) or {}
    assert (claims["exp"], reply["expires_in"]) == (clock.at - 5, 0)


def test_a_grant_without_a_refresh_token_may_get_one_unasked(clock: Clock) -> None:
    state = families(clock)
    assert "refresh_token" not in state.issue("app", "email")
    state.policy = Policy(refresh_token_unasked=True, extra={"token_type": "DPoP"})
    reply = state.issue("app", "email")
    assert reply["token_type"] == "DPoP"
    refresh(state, Sensitive(str(reply["refresh_token"])))


def test_introspection_knows_live_tokens_and_consumes_none(clock: Clock) -> None:
    state = families(clock)
    assert state.introspect("app", SEED)["active"] is True
    assert state.introspect("other", SEED) == {"active": False}
    reply = state.refresh("app", SEED, scope="", issuer=ISSUER)
    access, second = (Sensitive(str(reply[k])) for k in ("access_token", "refresh_token"))
    assert state.introspect("app", SEED) == {"active": False}
    assert state.introspect("app", second)["active"] is True
    assert state.introspect("app", access)["exp"] == clock.at + 20
    assert state.introspect("other", access) == {"active": False}
    clock.at += 20
    assert state.introspect("app", access) == {"active": False}
    assert len(state.presentations()) == 1


def test_introspection_of_an_access_token_ends_with_its_family(clock: Clock) -> None:
    state = families(clock)
    access = Sensitive(str(state.refresh("app", SEED, scope="", issuer=ISSUER)["access_token"]))
    assert state.introspect("app", access)["active"] is True
    state.revoke(SEED)
    assert state.introspect("app", access) == {"active": False}


@pytest.mark.parametrize(
    ("client", "token"), [("nobody", None), ("app", SEED)], ids=["client", "used seed"]
)
def test_impossible_seeds_are_refused(clock: Clock, client: str, token: Sensitive | None) -> None:
    with pytest.raises(ValueError, match=r"no such client|started a family"):
        families(clock).seed(client, token)
