from collections.abc import Callable

import pytest

from csidriver.demo.families import OAuthError
from csidriver.demo.logins import AuthorizationRequest, DeviceLogin, PendingLogins
from tests.demo.conftest import Clock

# RFC 7636, appendix B
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
CALLBACK = "http://127.0.0.1:8000/"
REQUEST = AuthorizationRequest("app", CALLBACK, "email", CHALLENGE)


@pytest.fixture
def logins(clock: Clock) -> PendingLogins:
    return PendingLogins(clock)


def refusal(redeem: Callable[[], str]) -> str:
    with pytest.raises(OAuthError) as refused:
        redeem()
    return refused.value.error


def polled(logins: PendingLogins, login: DeviceLogin) -> str:
    return refusal(lambda: logins.redeem_device("app", login.device_code))


def test_who_polls_too_often_must_wait_five_seconds_more_for_good(
    logins: PendingLogins, clock: Clock
) -> None:
    login = logins.start_device("app", "email")
    polled(logins, login)
    clock.at += 1
    assert polled(logins, login) == "slow_down"
    clock.at += logins.interval
    assert polled(logins, login) == "slow_down"
    clock.at += logins.interval + 10
    assert polled(logins, login) == "authorization_pending"


def test_a_denied_and_an_expired_login_end(logins: PendingLogins, clock: Clock) -> None:
    denied, expired = (logins.start_device("app", "email") for _ in range(2))
    assert logins.find_device(denied.user_code.lower().replace("-", " ")) is denied
    denied.allowed = False
    assert logins.find_device(denied.user_code) is None
    assert polled(logins, denied) == "access_denied"
    clock.at += logins.lifetime
    assert polled(logins, expired) == "expired_token"
    assert logins.find_device(expired.user_code) is None


@pytest.mark.parametrize(
    "wrong",
    [
        ("other", CALLBACK, VERIFIER),
        ("app", "http://127.0.0.1:8001/", VERIFIER),
        ("app", CALLBACK, CHALLENGE),
    ],
)
def test_an_authorization_code_is_spent_by_a_request_that_does_not_fit(
    logins: PendingLogins, wrong: tuple[str, str, str]
) -> None:
    code = logins.issue_code(REQUEST)
    for client, *rest in (wrong, ("app", CALLBACK, VERIFIER)):
        assert refusal(lambda: logins.redeem_code(client, code, *rest)) == "invalid_grant"  # noqa: B023


def test_nothing_shows_a_code(logins: PendingLogins) -> None:
    login, code = logins.start_device("app", "email"), logins.issue_code(REQUEST)
    for secret in (login.device_code, code):
        assert secret.reveal() not in repr([login, code, logins])
