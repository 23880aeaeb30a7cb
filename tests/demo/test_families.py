"""Rotation, reuse and the record of both, on injected time."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import SCOPE, OAuthError, Policy, RegisteredClient, TokenFamilies
from csidriver.demo.jwt import verify_jwt
from csidriver.demo.presentation_log import most_presentations

KEY = b"k" * 32
ISSUER = "https://as.example"
SEED = Sensitive("the-first-refresh-token")


class Clock:
    """Epoch seconds that pass when told to."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


def families(clock: Callable[[], float], policy: Policy | None = None) -> TokenFamilies:
    clients = [RegisteredClient("app", Sensitive("s3cret")), RegisteredClient("other", None)]
    made = TokenFamilies(clients, key=KEY, policy=policy or Policy(), now=clock)
    made.seed("app", SEED)
    return made


def refresh(
    state: TokenFamilies, token: Sensitive, *, client: str = "app", scope: str = ""
) -> Sensitive:
    reply = state.refresh(client, token, scope=scope, issuer=ISSUER)
    answered = reply["refresh_token"]
    assert isinstance(answered, str)
    return Sensitive(answered)


def refusal(
    state: TokenFamilies, token: Sensitive, *, client: str = "app", scope: str = ""
) -> tuple[str, str]:
    """The error code, and the outcome as it was logged."""
    with pytest.raises(OAuthError) as refused:
        refresh(state, token, client=client, scope=scope)
    return refused.value.error, state.presentations()[-1].outcome


def test_each_refresh_token_is_replaced_and_the_chain_goes_on(clock: Clock) -> None:
    state = families(clock)
    second = refresh(state, SEED)
    third = refresh(state, second)
    assert len({SEED, second, third}) == 3
    first_row, second_row = state.presentations()
    assert (first_row.token_hash, first_row.outcome) == (SEED.hash(), "rotated")
    assert first_row.successor_hash == second.hash() == second_row.token_hash
    assert (first_row.presented_at, first_row.client_id) == (clock.at, "app")
    assert most_presentations(state.presentations()) == 1


def test_replay_kills_the_whole_family(clock: Clock) -> None:
    state = families(clock)
    bystander = state.seed("app", None)
    second = refresh(state, SEED)
    assert refusal(state, SEED) == ("invalid_grant", "replayed")
    assert refusal(state, second) == ("invalid_grant", "revoked")
    assert refusal(state, SEED) == ("invalid_grant", "revoked")
    assert most_presentations(state.presentations()) == 3
    refresh(state, bystander)


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


def test_without_rotation_the_same_token_serves_for_ever(clock: Clock) -> None:
    state = families(clock, Policy(rotate=False))
    assert [refresh(state, SEED) for _ in range(3)] == [SEED] * 3
    assert {row.outcome for row in state.presentations()} == {"reused"}
    assert most_presentations(state.presentations()) == 0


def test_policy_changes_hold_from_the_next_request(clock: Clock) -> None:
    state = families(clock, Policy(rotate=False))
    refresh(state, SEED)
    state.policy = replace(state.policy, rotate=True)
    assert refresh(state, SEED) != SEED
    assert refusal(state, SEED) == ("invalid_grant", "replayed")


def test_one_of_many_concurrent_presentations_wins_and_its_family_dies(clock: Clock) -> None:
    state = families(clock)
    barrier = threading.Barrier(8)
    won: list[Sensitive] = []

    def present() -> None:
        barrier.wait()
        try:
            won.append(refresh(state, SEED))
        except OAuthError:
            return

    threads = [threading.Thread(target=present) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    outcomes = sorted(row.outcome for row in state.presentations())
    assert outcomes == ["replayed"] + ["revoked"] * 6 + ["rotated"]
    assert refusal(state, won[0]) == ("invalid_grant", "revoked")


def test_another_clients_token_is_refused_and_unharmed(clock: Clock) -> None:
    state = families(clock)
    assert refusal(state, SEED, client="other") == ("invalid_grant", "foreign")
    refresh(state, SEED)


def test_unknown_and_revoked_tokens_are_refused(clock: Clock) -> None:
    state = families(clock)
    assert refusal(state, Sensitive("never issued")) == ("invalid_grant", "unknown")
    state.revoke(SEED)
    assert refusal(state, SEED) == ("invalid_grant", "revoked")
    with pytest.raises(ValueError, match="no family"):
        state.revoke(Sensitive("never issued"))


def test_refresh_tokens_expire_when_the_policy_says_so(clock: Clock) -> None:
    state = families(clock, Policy(refresh_lifetime=100))
    clock.at += 99
    reply = state.refresh("app", SEED, scope="", issuer=ISSUER)
    assert reply["refresh_expires_in"] == 100
    clock.at += 100
    assert refusal(state, Sensitive(str(reply["refresh_token"]))) == ("invalid_grant", "expired")


def test_scope_may_narrow_and_not_widen(clock: Clock) -> None:
    state = families(clock)
    assert refusal(state, SEED, scope="email admin") == ("invalid_scope", "invalid_scope")
    reply = state.refresh("app", SEED, scope="email", issuer=ISSUER)
    claims = verify_jwt(str(reply["access_token"]), KEY)
    assert claims is not None
    assert reply["scope"] == claims["scope"] == "email"
    again = Sensitive(str(reply["refresh_token"]))
    assert state.refresh("app", again, scope="", issuer=ISSUER)["scope"] == SCOPE


def test_reply_holds_what_the_announcement_shows(clock: Clock) -> None:
    reply = families(clock).refresh("app", SEED, scope="", issuer=ISSUER)
    claims = verify_jwt(str(reply["access_token"]), KEY)
    assert claims is not None
    assert (claims["iss"], claims["azp"], claims["sid"]) == (ISSUER, "app", reply["session_state"])
    assert (claims["iat"], claims["exp"]) == (clock.at, clock.at + 20)
    constant = {"token_type", "expires_in", "refresh_expires_in", "scope", "not-before-policy"}
    assert {name: reply[name] for name in constant} == {
        "token_type": "Bearer",
        "expires_in": 20,
        "refresh_expires_in": 0,
        "scope": SCOPE,
        "not-before-policy": 0,
    }
    assert set(reply) - constant == {"access_token", "refresh_token", "session_state"}


def test_omitted_and_extra_fields_shape_the_reply_but_not_the_state(clock: Clock) -> None:
    omit = frozenset({"expires_in", "refresh_token"})
    state = families(clock, Policy(omit=omit, extra={"id_token": "x", "scope": None}))
    reply = state.refresh("app", SEED, scope="", issuer=ISSUER)
    assert not omit & set(reply)
    assert (reply["id_token"], reply["scope"]) == ("x", None)
    (row,) = state.presentations()
    assert (row.outcome, row.successor_hash) == ("rotated", "")


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


def test_nothing_shows_a_token(clock: Clock) -> None:
    state = families(clock)
    second = refresh(state, SEED)
    family = state._by_token[second]
    shown = repr(
        [state, state.presentations(), family, RegisteredClient("app", Sensitive("s3cret"))]
    )
    for secret in (SEED.reveal(), second.reveal(), "s3cret"):
        assert secret not in shown
