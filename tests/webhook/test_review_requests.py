import contextlib
import logging
import threading
from dataclasses import replace
from http import HTTPStatus

import pytest

from csidriver.http_server.connections import ConnectionState
from csidriver.webhook.https_server import AdmissionLimits
from csidriver.webhook.metrics import Result
from csidriver.webhook.review_handler import ReviewResponse, handle_review
from tests.waiting import until
from tests.webhook.served import GOOD, HEAD, KIND, PATIENCE, Served, serving, told_on


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("GET", "/mutate", {}, 405, id="GET"),
        pytest.param("BREW", "/mutate", KIND, 405, id="no method"),
        pytest.param("POST", "/mutate/", KIND, 404, id="below"),
        pytest.param("POST", "/mutate", {"Content-Type": "text/plain"}, 415, id="text"),
    ],
)
def test_anything_else_is_refused_in_json(
    served: Served, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    with contextlib.closing(served.client()) as client:
        client.request(method, path, GOOD, headers)
        got, told = client.told()
        assert (got, told["code"], told["kind"]) == (status, status, "Status")
        assert told["message"].startswith("oauth2-csi webhook: ")
    until(lambda: served.counted(Result.REFUSED) == 1)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param(HEAD + b"\r\n", 411, id="no length"),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411, id="chunks"
        ),
        pytest.param(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, id="two"),
        pytest.param(HEAD + b"Content-Length: +2\r\n\r\n{}", 400, id="sign"),
        pytest.param(HEAD + b"Content-Length: 5413594\r\n\r\n", 413, id="too long"),
        pytest.param(HEAD + b"Content-Length: 0\r\n\r\n", 400, id="empty"),
        pytest.param(b"nonsense\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"POST /mutate HTTP/2.0\r\n\r\n", 505, id="version"),
        pytest.param(b"POST /" + b"a" * 70_000, 431, id="long line"),
    ],
)
def test_bad_http_gets_a_status_and_no_more(served: Served, text: bytes, status: int) -> None:
    with served.secure() as connected:
        connected.sendall(text)
        got, told = told_on(connected)
        assert (got, told["code"]) == (status, status)


def test_a_body_that_is_too_long_is_refused_although_it_was_sent(served: Served) -> None:
    with contextlib.closing(served.client()) as client:
        status, _ = client.post(b" " * (AdmissionLimits().body + 1))
        assert status == 413


def test_pipelined_requests_are_answered_in_turn(served: Served) -> None:
    with served.secure() as connected:
        one = HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
        connected.sendall(one + one)
        told = b""
        while told.count(b"HTTP/1.1 200 ") < 2:
            chunk = connected.recv(65536)
            assert chunk
            told += chunk


def test_a_body_that_ends_too_early_is_nobodys_request(served: Served) -> None:
    with served.secure() as connected:
        connected.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        with contextlib.suppress(OSError):
            connected.unwrap()
        until(lambda: served.connections == 0)
    assert served.counted(Result.REFUSED) == 0


def test_only_so_many_long_bodies_are_read_at_a_time() -> None:
    limits = AdmissionLimits(large_body_threshold=1000, large_bodies=1)
    long = GOOD + b" " * 2000
    with serving(limits) as served, contextlib.ExitStack() as stack:
        first, third = [stack.enter_context(contextlib.closing(served.client())) for _ in range(2)]
        with served.server.large_bodies:  # as by somebody who is slow
            assert first.post()[0] == 200
            until(lambda: served.states() == [ConnectionState.IDLE] * 2)
            # Later connections have less time.
            served.server.limits = replace(limits, request=1.0)
            second = stack.enter_context(contextlib.closing(served.client()))
            second.request("POST", "/mutate", long, KIND)
            with second.getresponse() as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert [third.post(long)[0] for _ in range(3)] == [200, 200, 200]


def test_a_light_review_is_answered_while_heavy_ones_are() -> None:
    held = threading.Event()

    def answer(body: bytes) -> ReviewResponse:
        assert len(body) < 1000 or held.wait(PATIENCE)
        return handle_review(body)

    with (
        serving(AdmissionLimits(large_body_threshold=1000), answer) as served,
        contextlib.ExitStack() as stack,
    ):
        heavy = [stack.enter_context(contextlib.closing(served.client())) for _ in range(8)]
        for client in heavy:
            client.request("POST", "/mutate", GOOD + b" " * 2000, KIND)
        with contextlib.closing(served.client()) as light:
            assert [light.post()[0] for _ in range(20)] == [200] * 20
        held.set()
        assert [client.told()[0] for client in heavy] == [200] * 8


def test_nothing_of_a_request_is_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), contextlib.closing(served.client()) as client:
        client.post(b'{"planted": 1}', "/mutate?planted", X="planted")
        with served.secure() as connected:
            connected.sendall(b"planted\r\n\r\n")
            assert told_on(connected)[0] == HTTPStatus.BAD_REQUEST
    assert caplog.records == []
