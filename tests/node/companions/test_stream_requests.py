import threading
from collections.abc import Iterator

import pytest

from csidriver._proto import broker_pb2
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreUnavailable
from csidriver.node.companions.stream_requests import TOKEN_POLL, StreamRequests


class Times:
    """A clock that stands, and a token file."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.token: str | None = "first"

    def monotonic(self) -> float:
        return self.seconds

    def read(self) -> Sensitive:
        if self.token is None:
            raise StoreUnavailable("no file")
        return Sensitive(self.token)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def requests(times: Times) -> Iterator[StreamRequests]:
    first = [asking(1), asking(2)]
    made = StreamRequests(first, Sensitive("first"), times.read, times.monotonic)
    yield made
    made.close()
    assert list(made) == []


def asking(number: int) -> broker_pb2.Subscription:
    return broker_pb2.Subscription(id=number, namespace="alice")


def next_ids(requests: StreamRequests, count: int) -> list[int]:
    return [next(requests).subscribe.id for _ in range(count)]


def test_first_come_the_subscriptions_that_there_are(requests: StreamRequests) -> None:
    requests.subscribe(asking(3))
    assert next_ids(requests, 3) == [1, 2, 3]
    requests.unsubscribe(2)
    assert next(requests).unsubscribe == 2


def test_a_repetition_comes_when_it_is_due(requests: StreamRequests, times: Times) -> None:
    next_ids(requests, 2)
    requests.subscribe(asking(5), delay=3.0)
    requests.subscribe(asking(4), delay=2.0)
    requests.subscribe(asking(6), delay=1.0)
    requests.unsubscribe(6)
    assert next(requests).unsubscribe == 6
    times.seconds += 3.0
    assert next_ids(requests, 2) == [4, 5]


def test_it_waits_for_a_message(requests: StreamRequests) -> None:
    next_ids(requests, 2)
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.extend(next_ids(requests, 1)))
    thread.start()
    requests.subscribe(asking(7))
    thread.join(10)
    assert got == [7]


def test_a_newer_token_is_sent_once(requests: StreamRequests, times: Times) -> None:
    next_ids(requests, 2)
    times.seconds += TOKEN_POLL
    times.token = "second"
    assert next(requests).token == "second"
    times.seconds += TOKEN_POLL
    requests.subscribe(asking(8))
    assert next_ids(requests, 1) == [8]


def test_a_token_that_cannot_be_read_is_not_missed(requests: StreamRequests, times: Times) -> None:
    next_ids(requests, 2)
    times.seconds += TOKEN_POLL
    times.token = None
    thread = threading.Thread(target=lambda: next(requests))
    thread.start()
    requests.subscribe(asking(9))
    thread.join(10)
    times.seconds += TOKEN_POLL
    times.token = "second"
    assert next(requests).token == "second"


def test_closing_ends_a_wait(requests: StreamRequests) -> None:
    next_ids(requests, 2)
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(list(requests)))
    thread.start()
    requests.close()
    thread.join(10)
    assert got == [[]]
