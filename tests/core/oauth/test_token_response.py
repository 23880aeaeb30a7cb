import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import (
    Failure,
    Success,
    access_token_fault,
    parse_token_response,
)
from csidriver.core.sensitive import Sensitive

NOW = 1_800_000_000.0


def outcome(status: int, body: Any = "", retry_after: str = "") -> Success | Failure:
    text = body if isinstance(body, str) else json.dumps(body)
    return parse_token_response(status, Sensitive(text), retry_after, NOW)


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
        pytest.param({"access_token": "00D!AQ", "issued_at": "1700000000000"}, id="Salesforce"),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202, 206, 299])
def test_tokens_are_ok(status: int, body: Any) -> None:
    assert isinstance(outcome(status, body), Success)


@pytest.mark.parametrize(
    "odd",
    ["NaN", "Infinity", "-Infinity", "9" * 5000, "-" + "9" * 5000, '{"a": [1, NaN]}', "[1.5, NaN]"],
    ids=lambda odd: odd[:12],
)
@pytest.mark.parametrize("name", ["expires_in", "unknown", "access_token", "error"])
def test_what_is_no_json_costs_its_field_and_not_the_refresh_token(name: str, odd: str) -> None:
    parsed = outcome(200, f'{{"refresh_token": "r", "{name}": {odd}, "scope": "a"}}')
    assert isinstance(parsed, Success)
    assert parsed.reply.refresh_token == Sensitive("r")
    assert parsed.reply.fields.keys() == {"refresh_token", "scope"}
    assert TokenDocument.parse(parsed.reply.to_json())[0] == parsed.reply


HTML = "<html>"


@pytest.mark.parametrize(
    ("status", "body", "retry_after", "reason", "consumption"),
    [
        (429, "", "", FailureReason.THROTTLED, Consumption.NOT_CONSUMED),
        (429, HTML, "5", FailureReason.THROTTLED, Consumption.NOT_CONSUMED),
        (503, HTML, "5", FailureReason.THROTTLED, Consumption.NOT_CONSUMED),
        (400, {"error": "slow_down"}, "", FailureReason.THROTTLED, Consumption.NOT_CONSUMED),
        (
            503,
            {"error": "temporarily_unavailable"},
            "",
            FailureReason.THROTTLED,
            Consumption.NOT_CONSUMED,
        ),
        (503, HTML, "", FailureReason.SERVER_ERROR, Consumption.UNKNOWN),
        (500, {"error": "unknown_error"}, "", FailureReason.SERVER_ERROR, Consumption.UNKNOWN),
        (
            429,
            {"error": "too_many_requests"},
            "7",
            FailureReason.THROTTLED,
            Consumption.NOT_CONSUMED,
        ),
        (500, HTML, "5", FailureReason.SERVER_ERROR, Consumption.UNKNOWN),
        (502, "", "", FailureReason.SERVER_ERROR, Consumption.UNKNOWN),
        (504, "", "", FailureReason.SERVER_ERROR, Consumption.UNKNOWN),
        (522, "", "", FailureReason.SERVER_ERROR, Consumption.UNKNOWN),
        (400, {"error": "server_error"}, "", FailureReason.SERVER_ERROR, Consumption.UNKNOWN),
        (204, "", "", FailureReason.BAD_REPLY, Consumption.UNKNOWN),
        (201, {}, "", FailureReason.BAD_REPLY, Consumption.UNKNOWN),
        (199, {"refresh_token": "r"}, "", FailureReason.SERVER_ERROR, Consumption.UNKNOWN),
        (500, {"refresh_token": "r"}, "", FailureReason.SERVER_ERROR, Consumption.UNKNOWN),
        (200, HTML, "", FailureReason.BAD_REPLY, Consumption.UNKNOWN),
        (200, '{"access_token": "a', "", FailureReason.BAD_REPLY, Consumption.UNKNOWN),
        (200, {}, "", FailureReason.BAD_REPLY, Consumption.UNKNOWN),
        (200, {"access_token": "a\nb"}, "", FailureReason.BAD_REPLY, Consumption.UNKNOWN),
        (200, {"refresh_token": ""}, "", FailureReason.BAD_REPLY, Consumption.UNKNOWN),
        (200, {"error": ""}, "", FailureReason.BAD_REPLY, Consumption.UNKNOWN),
        (200, {"error": 5}, "", FailureReason.BAD_REPLY, Consumption.UNKNOWN),
        (301, "", "", FailureReason.REDIRECT, Consumption.NOT_CONSUMED),
        (307, {"access_token": "a"}, "", FailureReason.REDIRECT, Consumption.NOT_CONSUMED),
        (
            400,
            {"error": "invalid_grant"},
            "",
            FailureReason.INVALID_GRANT,
            Consumption.NOT_CONSUMED,
        ),
        (
            200,
            {"error": "invalid_grant"},
            "",
            FailureReason.INVALID_GRANT,
            Consumption.NOT_CONSUMED,
        ),
        (
            401,
            {"error": "invalid_client"},
            "",
            FailureReason.INVALID_CLIENT,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "invalid_client"},
            "",
            FailureReason.INVALID_CLIENT,
            Consumption.NOT_CONSUMED,
        ),
        (401, "", "", FailureReason.NO_OAUTH_ERROR, Consumption.NOT_CONSUMED),
        (
            401,
            {
                "error": "unauthorized_client",
                "error_description": "Invalid client or Invalid client credentials",
            },
            "",
            FailureReason.INVALID_CLIENT,
            Consumption.NOT_CONSUMED,
        ),
        (
            200,
            {"error": "incorrect_client_credentials"},
            "",
            FailureReason.INVALID_CLIENT,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "invalid_token"},
            "",
            FailureReason.INVALID_GRANT,
            Consumption.NOT_CONSUMED,
        ),
        (
            401,
            {"error": "invalid_token"},
            "",
            FailureReason.INVALID_GRANT,
            Consumption.NOT_CONSUMED,
        ),
        (
            200,
            {"error": "bad_refresh_token"},
            "",
            FailureReason.INVALID_GRANT,
            Consumption.NOT_CONSUMED,
        ),
        (
            401,
            {"error": "token_inactive"},
            "",
            FailureReason.INVALID_GRANT,
            Consumption.NOT_CONSUMED,
        ),
        (
            403,
            {"error": "unauthorized_client"},
            "",
            FailureReason.CLIENT_NOT_ALLOWED,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "unauthorized_client"},
            "",
            FailureReason.CLIENT_NOT_ALLOWED,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "unsupported_grant_type"},
            "",
            FailureReason.CLIENT_NOT_ALLOWED,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "invalid_scope"},
            "",
            FailureReason.INVALID_SCOPE,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "invalid_target"},
            "",
            FailureReason.INVALID_SCOPE,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "invalid_request"},
            "",
            FailureReason.INVALID_REQUEST,
            Consumption.NOT_CONSUMED,
        ),
        (400, HTML, "", FailureReason.NO_OAUTH_ERROR, Consumption.NOT_CONSUMED),
        (
            400,
            {"error": "interaction_required"},
            "",
            FailureReason.LOGIN_REQUIRED,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "consent_required"},
            "",
            FailureReason.LOGIN_REQUIRED,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "login_required"},
            "",
            FailureReason.LOGIN_REQUIRED,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "mfa_required"},
            "",
            FailureReason.LOGIN_REQUIRED,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "use_dpop_nonce"},
            "",
            FailureReason.UNSUPPORTED_PROOF,
            Consumption.NOT_CONSUMED,
        ),
        (
            400,
            {"error": "invalid_dpop_proof"},
            "",
            FailureReason.UNSUPPORTED_PROOF,
            Consumption.NOT_CONSUMED,
        ),
        (403, HTML, "", FailureReason.FORBIDDEN, Consumption.NOT_CONSUMED),
        (404, HTML, "", FailureReason.NO_ENDPOINT, Consumption.NOT_CONSUMED),
        (405, "", "", FailureReason.NO_ENDPOINT, Consumption.NOT_CONSUMED),
        (410, "", "", FailureReason.NO_ENDPOINT, Consumption.NOT_CONSUMED),
        (400, {"error": "what"}, "", FailureReason.UNKNOWN_ERROR, Consumption.NOT_CONSUMED),
        (418, "", "", FailureReason.NO_OAUTH_ERROR, Consumption.NOT_CONSUMED),
    ],
)
def test_answers_without_tokens_follow_the_table(
    status: int, body: Any, retry_after: str, reason: FailureReason, consumption: Consumption
) -> None:
    failed = outcome(status, body, retry_after)
    assert isinstance(failed, Failure)
    assert failed.reason is reason
    assert failed.reason.consumption is consumption


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
    assert isinstance(failed, Failure)
    assert failed.pause == pause


@given(st.integers(100, 599), st.text(), st.text())
def test_no_answer_is_too_strange(status: int, body: str, retry_after: str) -> None:
    assert isinstance(outcome(status, body, retry_after), Success | Failure)


CNF = base64.urlsafe_b64encode(b'{"cnf": {"jkt": "0ZcOCORZNYy"}}').decode().rstrip("=")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"access_token": "a"}, None),
        ({"access_token": "a", "token_type": "bEARER"}, None),
        ({"access_token": "a", "token_type": "mac"}, FailureReason.TOKEN_TYPE),
        ({"access_token": "a", "token_type": "DPoP"}, FailureReason.BOUND_TOKEN),
        ({"access_token": f"e30.{CNF}.c2ln"}, FailureReason.BOUND_TOKEN),
        ({"access_token": "a b"}, FailureReason.BAD_REPLY),
        ({"refresh_token": "r"}, FailureReason.BAD_REPLY),
    ],
)
def test_a_file_carries_bearer_tokens_only(
    fields: dict[str, str], fault: FailureReason | None
) -> None:
    reply = TokenDocument.parse_reply(Sensitive(json.dumps(fields)))
    assert access_token_fault(reply) is fault
