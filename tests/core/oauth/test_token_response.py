import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import FailureReason
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


@pytest.mark.parametrize("status", [200, 299])
def test_tokens_are_ok_though_something_is_odd_beside_them(status: int) -> None:
    only_refresh = {"refresh_token": "r", "access_token": None, "error": "server_error"}
    for body in (only_refresh, '{"access_token": "a", "token_type": "DPoP"}}'):
        assert isinstance(outcome(status, body), Success)


@pytest.mark.parametrize("odd", ["-Infinity", '{"a": [1, NaN]}', "-" + "9" * 5000], ids=len)
def test_what_is_no_json_costs_its_field_and_not_the_refresh_token(odd: str) -> None:
    parsed = outcome(200, f'{{"refresh_token": "r", "expires_in": {odd}, "scope": "a"}}')
    assert isinstance(parsed, Success)
    assert parsed.reply.refresh_token == Sensitive("r")
    assert parsed.reply.fields.keys() == {"refresh_token", "scope"}
    assert TokenDocument.parse(parsed.reply.to_json())[0] == parsed.reply


HTML = "<html>"
Answer = tuple[int, Any]
NO_TOKENS: dict[FailureReason, list[Answer]] = {
    FailureReason.THROTTLED: [
        *((429, body) for body in ("", HTML, {"error": "too_many_requests"})),
        *((400, {"error": "slow_down"}), (503, {"error": "temporarily_unavailable"})),
    ],
    FailureReason.SERVER_ERROR: [
        *((status, HTML) for status in (500, 502, 503, 504, 522)),
        *((status, {"refresh_token": "r"}) for status in (199, 500)),
        *((500, {"error": "unknown_error"}), (400, {"error": "server_error"})),
    ],
    FailureReason.BAD_REPLY: [
        *((200, body) for body in (HTML, '{"access_token": "a', {}, {"access_token": "a\nb"})),
        *((200, body) for body in ({"refresh_token": ""}, {"error": ""}, {"error": 5})),
        *((204, ""), (201, {})),
    ],
    FailureReason.REDIRECT: [(301, ""), (307, {"access_token": "a"}), (399, "")],
    FailureReason.FORBIDDEN: [(403, HTML)],
    FailureReason.NO_ENDPOINT: [(404, HTML), (405, ""), (410, "")],
    FailureReason.NO_OAUTH_ERROR: [(400, HTML), (401, ""), (418, "")],
    FailureReason.UNKNOWN_ERROR: [(400, {"error": "what"})],
}
ERRORS = {
    FailureReason.INVALID_GRANT: "invalid_grant invalid_token bad_refresh_token token_inactive",
    FailureReason.INVALID_CLIENT: "invalid_client incorrect_client_credentials",
    FailureReason.CLIENT_NOT_ALLOWED: "unauthorized_client unsupported_grant_type",
    FailureReason.INVALID_SCOPE: "invalid_scope invalid_target",
    FailureReason.INVALID_REQUEST: "invalid_request",
    FailureReason.LOGIN_REQUIRED: (
        "interaction_required consent_required login_required mfa_required"
    ),
    FailureReason.UNSUPPORTED_PROOF: "use_dpop_nonce invalid_dpop_proof",
}


@pytest.mark.parametrize(
    ("reason", "status", "body"),
    [(reason, *answer) for reason, answers in NO_TOKENS.items() for answer in answers]
    + [
        (reason, status, {"error": error})
        for reason, errors in ERRORS.items()
        for error in errors.split()
        for status in (200, 400, 403)
    ]
    # A wrong secret, as Keycloak tells it.
    + [(FailureReason.INVALID_CLIENT, 401, {"error": "unauthorized_client"})],
)
def test_why_an_answer_has_no_tokens(reason: FailureReason, status: int, body: Any) -> None:
    assert outcome(status, body) == Failure(reason)


def test_a_server_that_names_a_pause_is_throttling_unless_it_has_failed() -> None:
    assert outcome(503, HTML, "5") == Failure(FailureReason.THROTTLED, 5.0)
    assert outcome(500, HTML, "5") == Failure(FailureReason.SERVER_ERROR, 5.0)


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
        ("-5", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 400, 999999999.0),
        *((f"Fri, 15 Jan 2027 08:00:30 {zone}", 30.0) for zone in ("GMT", "-0000")),
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
    ],
)
@pytest.mark.usefixtures("far_from_greenwich")
def test_retry_after(header: str, pause: float | None) -> None:
    assert outcome(429, "", header) == Failure(FailureReason.THROTTLED, pause)


@given(st.integers(100, 599), st.text(), st.text())
def test_no_answer_is_too_strange(status: int, body: str, retry_after: str) -> None:
    assert isinstance(outcome(status, body, retry_after), Success | Failure)


CNF = base64.urlsafe_b64encode(b'{"cnf": {"jkt": "0ZcOCORZNYy"}}').decode().rstrip("=")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"access_token": "a", "token_type": "bEARER"}, None),
        ({"access_token": "a", "token_type": "mac"}, FailureReason.TOKEN_TYPE),
        ({"access_token": "a", "token_type": "DPoP"}, FailureReason.BOUND_TOKEN),
        ({"access_token": f"e30.{CNF}.c2ln"}, FailureReason.BOUND_TOKEN),
        ({"access_token": "a b"}, FailureReason.BAD_REPLY),
    ],
)
def test_a_file_carries_bearer_tokens_only(
    fields: dict[str, str], fault: FailureReason | None
) -> None:
    reply = TokenDocument.parse_reply(Sensitive(json.dumps(fields)))
    assert access_token_fault(reply) is fault
