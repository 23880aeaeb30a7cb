import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure, TokenResponse
from csidriver.refresher.circuit_breaker import BreakerState
from csidriver.refresher.issuer_limits import SlotDecision
from tests.refresher.limiter_bench import NO_ANSWER, OK, SEND_NOW, UNREACHABLE, LimiterBench


@pytest.mark.parametrize(
    "silence", [UNREACHABLE, NO_ANSWER, Failure(FailureReason.SERVER_ERROR)], ids=repr
)
def test_a_dead_issuer_is_probed_and_nobody_sends(silence: TokenResponse) -> None:
    bench = LimiterBench()
    for number in range(3):
        bench.request(number, silence)
    assert bench.state() is BreakerState.OPEN
    bench.now += 10.0
    assert bench.acquire(5) == SlotDecision(probe=True)
    assert 0 < bench.wait(6) <= 10.0
    assert bench.call() == 0.5, "one looks for all"
    bench.limiter.record_probe(bench.issuer, alive=False)
    assert 0 < bench.wait(7) <= 10.0
    bench.now += 10.0
    assert bench.call() == "token-6"
    assert bench.acquire(6).probe
    bench.limiter.record_probe(bench.issuer, alive=True)
    assert bench.state() is BreakerState.HALF_OPEN
    assert bench.acquire(6) == SEND_NOW
    assert bench.wait(9) > 0
    assert bench.call() == 0.5, "one tries for all"
    bench.record(6, OK)
    assert bench.state() is BreakerState.CLOSED


def test_neither_two_tokens_nor_failures_with_an_answer_in_between_kill_an_issuer() -> None:
    bench = LimiterBench()
    for number in range(40):
        bench.request(number % 2, UNREACHABLE)
    assert bench.state() is BreakerState.CLOSED
    for number in range(2, 20):
        bench.request(
            number, Failure(FailureReason.INVALID_GRANT) if number % 3 == 2 else UNREACHABLE
        )
    assert bench.state() is BreakerState.CLOSED


def test_a_dead_issuer_is_looked_at_every_few_seconds_at_most() -> None:
    bench = LimiterBench()
    bench.open_breaker()
    assert bench.wait(99) > 0
    began, probes = bench.now, 0
    while bench.now < began + 600:
        turn = bench.call()
        if isinstance(turn, str):
            probes += 1
            assert bench.acquire(99).probe
            bench.limiter.record_probe(bench.issuer, alive=False)
            assert 0 < bench.wait(99) <= 5.1
        else:
            bench.now += turn
    assert 600 / 5 <= probes <= 600 / 2


def test_a_prober_that_never_comes_back_is_replaced() -> None:
    bench = LimiterBench()
    bench.open_breaker()
    bench.now += 10.0
    assert bench.acquire(5).probe
    bench.now += 31.0
    assert bench.acquire(6).probe


def test_an_answer_that_was_under_way_closes_the_breaker() -> None:
    bench = LimiterBench()
    assert bench.acquire(9) == SEND_NOW
    bench.now += 1.0
    bench.open_breaker()
    bench.record(9, OK)
    assert bench.state() is BreakerState.CLOSED


@pytest.mark.parametrize("namespaces", [1, 5])
def test_tokens_without_a_success_stop_no_other_namespace(namespaces: int) -> None:
    bench = LimiterBench()
    bench.request(0, OK, namespace="victim")
    for number in range(20):
        namespace = f"evil-{number % namespaces}"
        bench.request(number, Failure(FailureReason.SERVER_ERROR), namespace=namespace)
    assert bench.state() is BreakerState.CLOSED
    for number in range(3):
        bench.request(number, NO_ANSWER, namespace="victim")
    assert bench.state() is BreakerState.OPEN


def test_two_namespaces_that_had_a_success_speak_for_all() -> None:
    bench = LimiterBench()
    for namespace in ("a", "b"):
        bench.request(0, OK, namespace=namespace)
    for number in range(5):
        bench.request(number, NO_ANSWER, namespace="a")
    assert bench.state() is BreakerState.CLOSED
    bench.request(1, NO_ANSWER, namespace="b")
    assert bench.state() is BreakerState.OPEN
    bench = LimiterBench()
    bench.request(0, OK, namespace="victim")
    bench.now += 3600.0
    bench.open_breaker()  # an answer of an hour ago speaks for nobody


def test_many_namespaces_leave_the_breaker_small() -> None:
    bench = LimiterBench()
    for number in range(100):
        bench.request(number, OK, namespace=f"ns-{number}")
    for number in range(100):
        bench.request(number, NO_ANSWER, namespace="evil")
    breaker = bench.limiter._limits["demo"][1].breaker
    assert len(breaker._answered) + len(breaker._unanswered) <= 5


def test_a_client_that_cannot_be_authenticated_opens_and_closes_nothing() -> None:
    bench, reason = LimiterBench(), FailureReason.CLIENT_KEY
    for number in range(9):
        bench.request(number, Failure(reason))
    assert bench.state() is BreakerState.CLOSED
    bench.open_breaker()
    bench.now += 10.0
    assert bench.acquire(5).probe
    bench.limiter.record_probe(bench.issuer, alive=True)
    bench.request(5, Failure(reason))
    assert bench.state() is BreakerState.HALF_OPEN
    bench.request(6, OK)
    assert bench.state() is BreakerState.CLOSED
