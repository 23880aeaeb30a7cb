import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import Kind, Signal
from csidriver.core.oauth.token_response import Failed, Ok, classify
from csidriver.core.refresh.failures import MEANINGS
from csidriver.core.sensitive import Sensitive

NOW = 1_800_000_000.0


def outcome(status: int, body: Any = "", retry_after: str = "") -> Ok | Failed:
    text = body if isinstance(body, str) else json.dumps(body)
    return classify(status, Sensitive(text), retry_after, NOW)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"access_token": "a"}, id="access token"),
        pytest.param({"refresh_token": "r"}, id="refresh token only"),
        pytest.param({"refresh_token": "r", "access_token": None}, id="access token null"),
        pytest.param({"access_token": "a", "token_type": "DPoP"}, id="wrong type, stored first"),
        pytest.param({"refresh_token": "r", "expires_in": "never"}, id="hostile expiry"),
        pytest.param({"refresh_token": "r", "error": "server_error"}, id="tokens beat an error"),
        pytest.param('{"access_token": "a"}}', id="surplus brace"),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202, 206, 299])
def test_tokens_are_ok(status: int, body: Any) -> None:
    assert isinstance(outcome(status, body), Ok)


HTML = "<html>"


@pytest.mark.parametrize(
    ("status", "body", "retry_after", "signal", "kind"),
    [
        (429, "", "", Signal.THROTTLED, Kind.REJECTED),
        (429, HTML, "5", Signal.THROTTLED, Kind.REJECTED),
        (503, HTML, "5", Signal.THROTTLED, Kind.REJECTED),
        (400, {"error": "slow_down"}, "", Signal.THROTTLED, Kind.REJECTED),
        (503, {"error": "temporarily_unavailable"}, "", Signal.THROTTLED, Kind.REJECTED),
        (503, HTML, "", Signal.SERVER_ERROR, Kind.UNCERTAIN),
        (500, {"error": "unknown_error"}, "", Signal.SERVER_ERROR, Kind.UNCERTAIN),
        (429, {"error": "too_many_requests"}, "7", Signal.THROTTLED, Kind.REJECTED),
        (500, HTML, "5", Signal.SERVER_ERROR, Kind.UNCERTAIN),
        (502, "", "", Signal.SERVER_ERROR, Kind.UNCERTAIN),
        (504, "", "", Signal.SERVER_ERROR, Kind.UNCERTAIN),
        (522, "", "", Signal.SERVER_ERROR, Kind.UNCERTAIN),
        (400, {"error": "server_error"}, "", Signal.SERVER_ERROR, Kind.UNCERTAIN),
        (204, "", "", Signal.BAD_REPLY, Kind.UNCERTAIN),
        (201, {}, "", Signal.BAD_REPLY, Kind.UNCERTAIN),
        (199, {"refresh_token": "r"}, "", Signal.SERVER_ERROR, Kind.UNCERTAIN),
        (500, {"refresh_token": "r"}, "", Signal.SERVER_ERROR, Kind.UNCERTAIN),
        (200, HTML, "", Signal.BAD_REPLY, Kind.UNCERTAIN),
        (200, '{"access_token": "a', "", Signal.BAD_REPLY, Kind.UNCERTAIN),
        (200, {}, "", Signal.BAD_REPLY, Kind.UNCERTAIN),
        (200, {"access_token": "a\nb"}, "", Signal.BAD_REPLY, Kind.UNCERTAIN),
        (200, {"refresh_token": ""}, "", Signal.BAD_REPLY, Kind.UNCERTAIN),
        (200, {"error": ""}, "", Signal.BAD_REPLY, Kind.UNCERTAIN),
        (200, {"error": 5}, "", Signal.BAD_REPLY, Kind.UNCERTAIN),
        (301, "", "", Signal.REDIRECT, Kind.REJECTED),
        (307, {"access_token": "a"}, "", Signal.REDIRECT, Kind.REJECTED),
        (400, {"error": "invalid_grant"}, "", Signal.INVALID_GRANT, Kind.REJECTED),
        (200, {"error": "invalid_grant"}, "", Signal.INVALID_GRANT, Kind.REJECTED),
        (401, {"error": "invalid_client"}, "", Signal.INVALID_CLIENT, Kind.REJECTED),
        (400, {"error": "invalid_client"}, "", Signal.INVALID_CLIENT, Kind.REJECTED),
        (401, "", "", Signal.INVALID_CLIENT, Kind.REJECTED),
        (400, {"error": "unauthorized_client"}, "", Signal.CLIENT_NOT_ALLOWED, Kind.REJECTED),
        (400, {"error": "unsupported_grant_type"}, "", Signal.CLIENT_NOT_ALLOWED, Kind.REJECTED),
        (400, {"error": "invalid_scope"}, "", Signal.INVALID_SCOPE, Kind.REJECTED),
        (400, {"error": "invalid_target"}, "", Signal.INVALID_SCOPE, Kind.REJECTED),
        (400, {"error": "invalid_request"}, "", Signal.INVALID_REQUEST, Kind.REJECTED),
        (400, HTML, "", Signal.INVALID_REQUEST, Kind.REJECTED),
        (400, {"error": "interaction_required"}, "", Signal.LOGIN_REQUIRED, Kind.REJECTED),
        (400, {"error": "consent_required"}, "", Signal.LOGIN_REQUIRED, Kind.REJECTED),
        (400, {"error": "login_required"}, "", Signal.LOGIN_REQUIRED, Kind.REJECTED),
        (400, {"error": "mfa_required"}, "", Signal.LOGIN_REQUIRED, Kind.REJECTED),
        (400, {"error": "use_dpop_nonce"}, "", Signal.UNSUPPORTED_PROOF, Kind.REJECTED),
        (400, {"error": "invalid_dpop_proof"}, "", Signal.UNSUPPORTED_PROOF, Kind.REJECTED),
        (403, HTML, "", Signal.FORBIDDEN, Kind.REJECTED),
        (404, HTML, "", Signal.NO_ENDPOINT, Kind.REJECTED),
        (405, "", "", Signal.NO_ENDPOINT, Kind.REJECTED),
        (410, "", "", Signal.NO_ENDPOINT, Kind.REJECTED),
        (400, {"error": "what"}, "", Signal.UNKNOWN_ERROR, Kind.REJECTED),
        (418, "", "", Signal.UNKNOWN_ERROR, Kind.REJECTED),
    ],
)
def test_answers_without_tokens_follow_the_table(
    status: int, body: Any, retry_after: str, signal: Signal, kind: Kind
) -> None:
    failed = outcome(status, body, retry_after)
    assert isinstance(failed, Failed)
    assert failed.signal is signal
    assert failed.kind is kind


@pytest.mark.parametrize(
    ("signal", "kind"),
    [
        (Signal.UNREACHABLE, Kind.NOT_SENT),
        (Signal.TLS, Kind.NOT_SENT),
        (Signal.METADATA, Kind.NOT_SENT),
        (Signal.NO_ANSWER, Kind.UNCERTAIN),
    ],
)
def test_failures_without_an_answer(signal: Signal, kind: Kind) -> None:
    assert Failed(signal).kind is kind


def test_every_signal_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Signal)


@pytest.fixture
def far_from_greenwich() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 400, 999999999.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 08:00:30 -0000", 30.0),
        ("Thu, 14 Jan 2027 08:00:00 GMT", 0.0),
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
    ],
)
@pytest.mark.usefixtures("far_from_greenwich")
def test_retry_after(header: str, pause: float | None) -> None:
    failed = outcome(429, "", header)
    assert isinstance(failed, Failed)
    assert failed.pause == pause


@given(st.integers(100, 599), st.text(), st.text())
def test_no_answer_is_too_strange(status: int, body: str, retry_after: str) -> None:
    assert isinstance(outcome(status, body, retry_after), Ok | Failed)
