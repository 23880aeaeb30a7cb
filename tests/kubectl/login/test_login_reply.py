import json
from typing import Any

import pytest

from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.login_reply import LoginRefused, read_poll_reply, read_tokens
from csidriver.kubectl.login.polling import PollAnswer

TOKENS = {"access_token": "at", "refresh_token": "rt", "expires_in": 60, "id_token": "x"}


def body(content: Any) -> Sensitive:
    return Sensitive(content if isinstance(content, str) else json.dumps(content))


def refused(status: int, content: Any) -> str:
    with pytest.raises(LoginFailed) as failure:
        read_poll_reply(status, body(content))
    return str(failure.value)


@pytest.mark.parametrize(
    ("status", "error", "answer"),
    [
        (400, "slow_down", PollAnswer.SLOW_DOWN),
        (200, "authorization_pending", PollAnswer.PENDING),  # GitHub
        (428, "authorization_pending", PollAnswer.PENDING),  # Google
        (400, "temporarily_unavailable", PollAnswer.MISSING),
        (408, "", PollAnswer.MISSING),
        (429, "", PollAnswer.MISSING),
        (500, "something", PollAnswer.MISSING),
    ],
)
def test_these_errors_let_the_login_go_on(status: int, error: str, answer: PollAnswer) -> None:
    assert read_poll_reply(status, body({"error": error} if error else "<html>")) is answer


@pytest.mark.parametrize("status", [200, 503])
def test_these_errors_end_the_login_with_the_cure(status: int) -> None:
    denied = {"error": "access_denied"}
    assert "the login was denied in the browser" in refused(status, denied)
    assert "--client-secret-file" in refused(status, {"error": "invalid_client"})


def test_an_unknown_error_is_quoted_if_it_is_one() -> None:
    assert '"never_heard_of"' in refused(400, {"error": "never_heard_of"})
    assert "refuses the login: an unknown error" in refused(400, {"error": ["slow_down"]})
    with pytest.raises(LoginRefused) as failure:
        read_poll_reply(400, body({"error": "Planted-secret", "error_description": "planted"}))
    assert "lanted" not in str(failure.value)


def test_tokens_that_cannot_be_kept_fresh_are_refused() -> None:
    assert "HTTP 404 without an OAuth error" in refused(404, "<html>")
    assert "offline_access" in refused(200, {"access_token": "at"})
    assert "no Bearer tokens" in refused(200, {**TOKENS, "token_type": "DPoP"})
    assert "does not answer with a JSON object" in refused(200, "<html>")
    assert "32 KiB" in refused(200, {**TOKENS, "extra": "x" * 40_000})


def test_an_id_token_is_dropped_if_a_secret_has_no_room_for_it() -> None:
    reply = read_tokens(200, body({**TOKENS, "id_token": "x" * 40_000}))
    assert set(reply.fields) == {"access_token", "refresh_token", "expires_in"}
