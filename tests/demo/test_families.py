import threading
from collections.abc import Callable

import pytest

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import SCOPE, OAuthError, RegisteredClient, TokenFamilies
from csidriver.demo.jwt import verify_jwt
from tests.demo.conftest import Clock

KEY = b"k" * 32
ISSUER = "https://as.example"
SEED = Sensitive("the-first-refresh-token")


CLIENTS = [RegisteredClient("app", Sensitive("s3cret")), RegisteredClient("other", None)]


def families(clock: Callable[[], float]) -> TokenFamilies:
    made = TokenFamilies(CLIENTS, key=KEY, lifetime=20.0, now=clock)
    made.seed("app", SEED)
    return made


def refresh(state: TokenFamilies, token: Sensitive, client: str = "app") -> Sensitive:
    reply = state.refresh(client, token, scope="", issuer=ISSUER)
    return Sensitive(str(reply["refresh_token"]))


def refusal(state: TokenFamilies, token: Sensitive, client: str = "app") -> tuple[str, str]:
    """The error code, and the outcome as it was logged."""
    with pytest.raises(OAuthError) as refused:
        refresh(state, token, client)
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


def test_one_of_many_concurrent_presentations_wins_and_its_family_dies(clock: Clock) -> None:
    state = families(clock)
    bystander = state.seed("app", None)
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
    refresh(state, bystander)


def test_tokens_of_others_and_access_tokens_are_refused(clock: Clock) -> None:
    state = families(clock)
    assert refusal(state, SEED, "other") == ("invalid_grant", "foreign")
    stranger = TokenFamilies(CLIENTS, key=b"x" * 32, lifetime=20.0, now=clock)
    reply = state.refresh("app", SEED, scope="", issuer=ISSUER)
    access_token = Sensitive(str(reply["access_token"]))
    for token in (stranger.seed("app", None), access_token, Sensitive("never issued")):
        assert refusal(state, token) == ("invalid_grant", "unknown")


def test_reply_holds_what_the_announcement_shows(clock: Clock) -> None:
    reply = families(clock).refresh("app", SEED, scope="", issuer=ISSUER)
    claims = verify_jwt(str(reply["access_token"]), KEY)
    assert claims is not None
    assert (claims["iss"], claims["azp"], claims["sid"]) == (ISSUER, "app", reply["session_state"])
    assert (claims["iat"], claims["exp"]) == (clock.at, clock.at + 20)
    assert (reply["token_type"], reply["expires_in"], reply["scope"]) == ("Bearer", 20, SCOPE)
    always = {"refresh_expires_in", "not-before-policy", "access_token", "refresh_token"}
    assert reply.keys() == always | {"token_type", "expires_in", "scope", "session_state"}
