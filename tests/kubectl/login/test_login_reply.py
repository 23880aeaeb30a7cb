import json
from typing import Any

import pytest

from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.login_reply import (
    REFUSALS,
    LoginRefused,
    read_object,
    read_poll_reply,
    read_tokens,
)
from csidriver.kubectl.login.polling import PollAnswer

TOKENS = {"access_token": "at", "refresh_token": "rt", "expires_in": 60, "id_token": "x"}


def body(content: Any) -> Sensitive:
    return Sensitive(content if isinstance(content, str) else json.dumps(content))


def refused(status: int, content: Any) -> str:
    with pytest.raises(LoginFailed) as failure:
        read_poll_reply(status, body(content))
    return str(failure.value)


def test_tokens_are_kept_as_the_server_wrote_them() -> None:
    reply = read_tokens(200, body(TOKENS))
    assert json.loads(reply.to_json().reveal()) == TOKENS


@pytest.mark.parametrize(
    ("status", "error", "answer"),
    [
        (400, "authorization_pending", PollAnswer.PENDING),
        (400, "slow_down", PollAnswer.SLOW_DOWN),
        (200, "authorization_pending", PollAnswer.PENDING),  # GitHub
        (200, "slow_down", PollAnswer.SLOW_DOWN),
        (428, "authorization_pending", PollAnswer.PENDING),  # Google
        (403, "slow_down", PollAnswer.SLOW_DOWN),
        (429, "slow_down", PollAnswer.SLOW_DOWN),
        (503, "temporarily_unavailable", PollAnswer.MISSING),
        (400, "temporarily_unavailable", PollAnswer.MISSING),
        (500, "server_error", PollAnswer.MISSING),
        (502, "something", PollAnswer.MISSING),
    ],
)
def test_these_errors_let_the_login_go_on(status: int, error: str, answer: PollAnswer) -> None:
    assert read_poll_reply(status, body({"error": error})) is answer


@pytest.mark.parametrize("error", [["slow_down"], {"error": "slow_down"}, 5])
def test_an_error_that_is_no_text_ends_the_login(error: Any) -> None:
    assert "refuses the login: an unknown error" in refused(400, {"error": error})


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_gateway_without_json_lets_the_login_go_on(status: int) -> None:
    assert read_poll_reply(status, body("<html>")) is PollAnswer.MISSING


@pytest.mark.parametrize("status", [200, 400, 403, 503])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("access_denied", "the login was denied in the browser"),
        ("authorization_declined", "the login was denied in the browser"),  # Entra
        ("expired_token", "the code has expired before the login was confirmed"),
        ("invalid_client", "--client-secret-file"),
        ("invalid_scope", "--scope"),
    ],
)
def test_these_errors_end_the_login_with_the_cure(status: int, error: str, text: str) -> None:
    assert text in refused(status, {"error": error})


def test_every_refusal_is_one_sentence() -> None:
    assert all("\n" not in text and not text.endswith(".") for text in REFUSALS.values())


def test_an_unknown_error_is_quoted_if_it_is_one() -> None:
    assert '"never_heard_of"' in refused(400, {"error": "never_heard_of"})
    with pytest.raises(LoginRefused) as failure:
        read_poll_reply(400, body({"error": "Planted-secret", "error_description": "planted"}))
    assert "lanted" not in str(failure.value)


@pytest.mark.parametrize(("status", "content"), [(404, "<html>"), (400, "{}"), (401, "[]")])
def test_an_answer_of_something_else_ends_the_login(status: int, content: str) -> None:
    assert f"HTTP {status} without an OAuth error" in refused(status, content)


def test_a_success_must_be_json() -> None:
    with pytest.raises(LoginFailed, match="does not answer with a JSON object"):
        read_object(200, body("<html>"), "token endpoint")


def test_tokens_without_a_refresh_token_are_refused_with_the_cure() -> None:
    assert "offline_access" in refused(200, {"access_token": "at"})


def test_tokens_of_another_type_are_refused() -> None:
    assert "no Bearer tokens" in refused(200, {**TOKENS, "token_type": "DPoP"})


def test_an_id_token_is_dropped_if_a_secret_has_no_room_for_it() -> None:
    reply = read_tokens(200, body({**TOKENS, "id_token": "x" * 40_000}))
    assert isinstance(reply, TokenDocument)
    assert set(reply.fields) == {"access_token", "refresh_token", "expires_in"}


def test_tokens_that_a_secret_has_no_room_for_are_refused() -> None:
    assert "32 KiB" in refused(200, {**TOKENS, "extra": "x" * 40_000})
