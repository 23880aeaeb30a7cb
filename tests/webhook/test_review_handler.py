import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.webhook import review_handler
from csidriver.webhook.metrics import Result
from csidriver.webhook.review_handler import handle_review
from tests.core.admission.pods import ENTRY, pod_with
from tests.core.admission.reviews import review_of

GOOD = json.dumps(review_of(pod_with(ENTRY))).encode()


@pytest.mark.parametrize(
    ("pod", "result"),
    [
        pytest.param(pod_with(ENTRY), Result.INJECTED, id="injected"),
        pytest.param(pod_with(), Result.UNCHANGED, id="unchanged"),
        pytest.param(pod_with({}), Result.DENIED, id="denied"),
    ],
)
def test_reviews_are_answered_and_counted(pod: dict[str, Any], result: Result) -> None:
    reply = handle_review(json.dumps(review_of(pod)).encode())
    assert (reply.status, reply.result) == (200, result)
    response = json.loads(reply.body)["response"]
    assert response["allowed"] is (result is not Result.DENIED)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"planted", id="no JSON"),
        pytest.param(b'["planted"]', id="array"),
        pytest.param(GOOD + GOOD, id="two documents"),
        pytest.param(b'{"planted":' * 50_000, id="deep"),
        pytest.param(b"[" + b"{}," * 1_000_000 + b"{}]", id="wide"),
        pytest.param(b'{"planted": ' + b"9" * 10_000 + b"}", id="long number"),
        pytest.param(b'{"planted": "\xff"}', id="no UTF-8"),
        pytest.param(b'{"planted": 1}', id="no review"),
    ],
)
def test_what_is_no_review_gets_a_clear_refusal_that_quotes_nothing(body: bytes) -> None:
    reply = handle_review(body)
    assert (reply.status, reply.result) == (400, Result.REFUSED)
    status = json.loads(reply.body)
    assert (status["kind"], status["code"]) == ("Status", 400)
    assert status["message"].startswith("oauth2-csi webhook: admission review: ")
    assert b"planted" not in reply.body
    assert b"Traceback" not in reply.body


def _nested(levels: int) -> bytes:
    pod = pod_with(ENTRY)
    pod["metadata"]["x"] = "nested"
    return json.dumps(review_of(pod)).replace('"nested"', "[" * levels + "]" * levels).encode()


@pytest.mark.parametrize("levels", [120, 50_000])
def test_what_is_nested_deeply_is_the_clients_error_and_is_not_logged(
    levels: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert handle_review(_nested(50)).result is Result.INJECTED
    reply = handle_review(_nested(levels))
    assert (reply.status, reply.result) == (400, Result.REFUSED)
    assert b"nested too deeply" in reply.body
    assert caplog.records == []


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(str).map(str.encode)
)
def test_nothing_escapes(body: bytes) -> None:
    assert handle_review(body).status in {200, 400}


def test_a_defect_of_ours_is_logged_and_not_shown(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> Any:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(review_handler, "review", fail)
    reply = handle_review(GOOD)
    assert (reply.status, reply.result) == (500, Result.FAILED)
    assert b"planted" not in reply.body
    assert [record.levelname for record in caplog.records] == ["ERROR"]
