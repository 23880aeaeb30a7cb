import json
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.webhook import review_handler
from csidriver.webhook.metrics import Result
from csidriver.webhook.review_handler import error_response, handle_review
from tests.core.admission.pods import ENTRY, container, mounted, pod_with
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
        pytest.param(GOOD[:-1], id="cut"),
        pytest.param(b'{"planted":' * 50_000, id="deep objects"),
        pytest.param(b"[" * 200_000, id="deep arrays"),
        pytest.param(b"[" + b"{}," * 1_000_000 + b"{}]", id="wide"),
        pytest.param(b'{"planted": ' + b"9" * 10_000 + b"}", id="long number"),
        pytest.param(b'{"planted": "\xff"}', id="no UTF-8"),
        pytest.param(GOOD.replace(b"/v1", b"/v1beta1", 1), id="old version"),
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


@pytest.mark.parametrize("levels", [120, 900, 50_000])
def test_what_is_nested_deeply_is_the_clients_error_and_is_not_logged(
    levels: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert handle_review(_nested(50)).result is Result.INJECTED
    reply = handle_review(_nested(levels))
    assert (reply.status, reply.result) == (400, Result.REFUSED)
    assert b"nested too deeply" in reply.body
    assert caplog.records == []


def _mounts(count: int, path: str) -> bytes:
    entries = [ENTRY | {"owner": number} for number in range(100)]
    main = container("main", *[mounted("own", path)] * count)
    return json.dumps(review_of(pod_with(*entries, containers=[main]))).encode()


@pytest.mark.parametrize(
    ("body", "is_allowed"),
    [
        pytest.param(_mounts(200, "/a" + "/.." * 9000), False, id="200 long paths"),
        pytest.param(_mounts(20, "/a" + "/.." * 20_000), False, id="20 longer paths"),
        pytest.param(_mounts(480, "/a" + "/.." * 1360), True, id="paths that Linux takes"),
    ],
)
def test_a_review_that_is_made_to_keep_us_busy_does_not(body: bytes, *, is_allowed: bool) -> None:
    began = time.thread_time()
    reply = handle_review(body)
    assert time.thread_time() - began < 0.3
    assert json.loads(reply.body)["response"]["allowed"] is is_allowed


def _cost_and_warnings(source: str) -> tuple[float, int]:
    """The least CPU of five reviews of a pod with many volumes on /tmp, and its warnings."""
    pod = json.loads(_mounts(0, ""))["request"]["object"]
    names = [f"v{number}" for number in range(240)]
    pod["spec"]["volumes"] = [{"name": name, source: {}} for name in names]
    pod["spec"]["containers"] = [container("main", *(mounted(name, "/tmp") for name in names))]
    body = json.dumps(review_of(pod)).encode()
    costs, reply = [], handle_review(body)
    for _ in range(5):
        began = time.thread_time()
        handle_review(body)
        costs.append(time.thread_time() - began)
    return min(costs), len(json.loads(reply.body)["response"].get("warnings", []))


def test_warnings_are_made_until_they_are_enough() -> None:
    with_none, none = _cost_and_warnings("emptyDir")
    with_many, many = _cost_and_warnings("hostPath")
    assert (none, many) == (0, 16)
    # The first ones are enough, whereas none are only found by a look at every volume.
    assert with_many < with_none


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(str).map(str.encode)
)
def test_nothing_escapes(body: bytes) -> None:
    assert handle_review(body).status in {200, 400}


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(_: Any) -> Any:
        raise ZeroDivisionError("planted")

    with monkeypatch.context() as patched:
        patched.setattr(review_handler, "review", fail)
        yield


@pytest.mark.usefixtures("broken")
def test_a_defect_of_ours_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    reply = handle_review(GOOD)
    assert (reply.status, reply.result) == (500, Result.FAILED)
    assert b"planted" not in reply.body
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_refusals_of_ours_and_theirs_are_counted_apart() -> None:
    assert error_response(HTTPStatus.BAD_REQUEST, "x").result is Result.REFUSED
    assert error_response(HTTPStatus.SERVICE_UNAVAILABLE, "x").result is Result.FAILED
