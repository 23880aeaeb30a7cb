import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure, TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.refresher import limiter_bench
from tests.refresher.limiter_bench import ANN, BEN, NO_ANSWER, OK, REFUSED, SEND_NOW, LimiterBench


def reject(bench: LimiterBench, number: int = 0) -> float:
    """Have a client refused; return the pause of its other tokens."""
    assert bench.acquire(number) == SEND_NOW
    bench.record(number, REFUSED)
    assert bench.acquire(100 + number).client_refused
    return bench.wait(100 + number)


def test_retry_after_pauses_the_client_and_nobody_else() -> None:
    bench = LimiterBench()
    bench.request(0, Failure(FailureReason.THROTTLED, 30.0))
    assert 28.9 < bench.wait(1) < 29.5
    bench.request(2, OK, BEN)
    bench.now += 30.0
    bench.request(3, OK)


def test_a_batch_that_is_throttled_at_once_counts_as_one() -> None:
    bench = LimiterBench(rate=1000.0)
    for number in range(10):
        assert bench.acquire(number) == SEND_NOW
        bench.now += 0.001
    for number in range(10):
        bench.record(number, Failure(FailureReason.THROTTLED))
    assert bench.wait(50) == pytest.approx(2.0, abs=0.1)


def test_a_pause_is_neither_nothing_nor_for_ever() -> None:
    for said, least, most in ((0.0, 0.9, 1.0), (1e9, 3599, 3600)):
        bench = LimiterBench()
        bench.request(0, Failure(FailureReason.THROTTLED, said))
        bench.now -= 1.0
        assert least <= bench.wait(1) <= most


def test_pauses_without_a_word_grow_and_end_with_a_success() -> None:
    bench = LimiterBench()
    seen = []
    for number in range(8):
        assert bench.acquire(number) == SEND_NOW
        bench.record(number, Failure(FailureReason.THROTTLED))
        seen.append(bench.wait(100 + number))
        bench.now += 100.0
    assert seen[:3] == [2.0, 4.0, 8.0]
    assert seen[-1] == 60.0
    bench.request(50, OK)
    assert bench.acquire(51) == SEND_NOW
    bench.record(51, Failure(FailureReason.THROTTLED))
    assert bench.wait(52) == 2.0


def test_a_refused_client_is_tried_after_as_long_again_at_most_every_hour() -> None:
    bench = LimiterBench()
    waits = []
    for number in range(7):
        waits.append(reject(bench, number))
        bench.now += waits[-1]
    assert waits == [pytest.approx(w, abs=0.1) for w in (300, 300, 600, 1200, 2400, 3600, 3600)]


def test_a_refused_client_hurts_no_other_one() -> None:
    bench = LimiterBench()
    reject(bench)
    assert bench.acquire(7).client_refused, "it is told once, without a request"
    assert bench.limiter.loads()[0].in_flight == 0
    assert bench.wait(50, BEN) == 0
    assert bench.wait(7) > 290
    corrected = Client(ANN.client_id, Sensitive("corrected"))
    assert bench.wait(7, corrected) == 0, "other credentials are another client"


@pytest.mark.parametrize(
    ("between", "pause"),
    [(NO_ANSWER, 1000), (Failure(FailureReason.INVALID_GRANT), 300)],
    ids=repr,
)
def test_only_an_answer_to_a_client_that_was_let_in_makes_up_for_refusals(
    between: TokenResponse, pause: float
) -> None:
    bench = LimiterBench()
    reject(bench)
    bench.now += 999.0
    bench.request(10, between)
    assert reject(bench, 11) == pytest.approx(pause, abs=0.1)


def test_a_refused_client_may_try_again_once_its_issuer_was_changed() -> None:
    bench = LimiterBench()
    reject(bench)
    bench.issuer = limiter_bench.issuer(client_auth="post")
    assert bench.acquire(100) == SEND_NOW, "also a token that was to wait"
    bench.record(100, REFUSED)
    assert bench.acquire(100).client_refused, "it is told again"
    assert bench.wait(100) == pytest.approx(300, abs=0.1)


def test_after_the_pause_one_tries_for_all() -> None:
    bench = LimiterBench()
    reject(bench)
    bench.now += 301.0
    assert bench.acquire(0) == SEND_NOW
    assert bench.wait(1) > 0
    bench.record(0, OK)
    bench.now += 2.0
    assert [bench.wait(number) for number in (1, 2)] == [0, 0.0]
