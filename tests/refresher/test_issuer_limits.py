import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.issuer_limits import LATENESS_SECONDS, IssuerHealth
from tests.refresher.limiter_bench import (
    ANN,
    BEN,
    OK,
    SEND_NOW,
    LimiterBench,
    drain,
)


def test_ten_thousand_tokens_come_back_one_by_one_in_their_order() -> None:
    bench = LimiterBench()
    asked = 0

    def ask(number: int) -> float:
        nonlocal asked
        asked += 1
        return bench.wait(number)

    pauses = [ask(number) for number in range(10_000)]
    assert pauses == sorted(pauses)
    assert max(pauses) == pytest.approx(10_000 / 50, rel=0.01)
    first = bench.now
    for number, pause in enumerate(pauses):
        if pause:
            bench.now = first + pause
            assert ask(number) == 0
        bench.record(number, OK)
    assert asked < 20_000, "nobody came twice"


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([0.5, 2.0, 50.0]),
    in_flight=st.integers(1, 20),
    service=st.floats(0.0, 3.0),
    arrivals=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=60),
)
def test_rate_and_slots_hold_over_every_window(
    rate: float, in_flight: int, service: float, arrivals: list[float]
) -> None:
    bench = LimiterBench(rate=rate, in_flight=in_flight)
    due = sorted((1000.0 + at, number) for number, at in enumerate(arrivals))
    busy: list[tuple[float, int]] = []
    times: list[float] = []
    while due or busy:
        if busy and (not due or busy[0][0] <= due[0][0]):
            bench.now, number = busy.pop(0)
            bench.record(number, OK)
            continue
        bench.now, number = due.pop(0)
        if pause := bench.wait(number):
            due = sorted([*due, (bench.now + pause, number)])
        else:
            times.append(bench.now)
            busy = sorted([*busy, (bench.now + service, number)])
            assert len(busy) <= in_flight
    assert len(times) == len(arrivals), "everybody is served"
    for first in range(len(times)):
        for last in range(first, len(times)):
            window = times[last] - times[first]
            assert last - first + 1 <= rate * (window + LATENESS_SECONDS) + 1 + 1e-6
    assert times[-1] - times[0] <= 10 + len(times) * (1 / rate + service / in_flight + 1)


def test_who_comes_early_waits_for_the_same_instant() -> None:
    bench = LimiterBench(rate=1.0)
    assert bench.wait(0) == 0
    pause = bench.wait(1)
    for _ in range(100):
        bench.now += pause / 200
        bench.wait(1)
    assert bench.wait(1) == pytest.approx(pause / 2)
    assert bench.wait(2) == pytest.approx(pause / 2 + 1), "nobody was pushed out by that"


def test_a_slot_that_is_given_back_is_free() -> None:
    bench = LimiterBench(in_flight=1, rate=1000.0)
    assert bench.wait(0) == 0
    assert bench.wait(1) > 0
    bench.limiter.release(bench.issuer, ANN)
    bench.now += 1.0
    assert bench.wait(1) == 0


def test_nobody_overtakes_those_who_wait() -> None:
    bench = LimiterBench(rate=1.0)
    pauses = [bench.wait(number) for number in range(5)]
    bench.now += 1.5  # when number 1 could have gone, a newcomer asks
    assert bench.wait(99) > pauses[-1] - 1.5


def test_a_second_client_that_is_throttled_pauses_the_issuer() -> None:
    bench = LimiterBench()
    bench.request(0, Failure(FailureReason.THROTTLED, 30.0))
    bench.request(1, Failure(FailureReason.THROTTLED, 40.0), BEN)
    other = Client("third", Sensitive(""))
    assert bench.wait(2, other) == pytest.approx(28.0)
    rate = bench.limiter.loads()[0].allowed
    assert rate == 25.0, "and it goes on slower"
    bench.now += 100.0
    for number in range(40):
        bench.request(number, OK, other)
    assert bench.limiter.loads()[0].allowed == 50.0


def test_who_comes_back_too_late_is_not_sent_to_the_end_of_the_line() -> None:
    bench = LimiterBench(rate=1.0)
    for number in range(100):
        bench.wait(number)
    bench.now += 50.0  # all workers were busy
    waits = [bench.wait(number) for number in range(1, 51)]
    assert waits == sorted(waits)
    assert waits[-1] < 51


def test_a_server_that_slows_several_clients_down_is_in_trouble_until_it_serves_one() -> None:
    bench = LimiterBench()
    slow = Failure(FailureReason.THROTTLED, 5.0)
    assert bench.acquire(0, ANN) == bench.acquire(1, BEN) == SEND_NOW
    assert bench.record(0, slow, ANN) is None
    assert not bench.limiter.reports_for_all_tokens("demo"), "one client is no issuer"
    assert bench.record(1, slow, BEN) is IssuerHealth.THROTTLED
    bench.now += 60.0
    assert bench.request(2, OK) is IssuerHealth.AVAILABLE


def test_slow_answers_do_not_starve_anybody() -> None:
    bench = LimiterBench(in_flight=4)
    served = drain(bench, range(40), service=5.0)
    assert sorted(number for _, number in served) == list(range(40))
    assert served[-1][0] - 1000.0 < 40 * 5.0 / 4 + 15
    assert math.isfinite(served[-1][0])
