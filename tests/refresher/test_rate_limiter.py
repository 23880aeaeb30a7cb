import math
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.circuit_breaker import BreakerState
from csidriver.refresher.issuer_limits import LATENESS_SECONDS, IssuerHealth, SlotDecision
from csidriver.refresher.rate_limiter import RateLimiter

ANN, BEN = Client("ann", Sensitive("a")), Client("ben", Sensitive("b"))
OK = Success(TokenDocument({}))
GONE, SILENT = Failure(FailureReason.UNREACHABLE), Failure(FailureReason.NO_ANSWER)
REFUSED = Failure(FailureReason.INVALID_CLIENT)
GO = SlotDecision()


def ref(number: int) -> SourceRef:
    return SourceRef("ns", f"token-{number}")


def issuer(name: str = "demo", **options: Any) -> Issuer:
    return Issuer(name, token_endpoint="https://as.example/token", **options)


class Stage:
    """A limiter, a clock that moves when told, and one issuer."""

    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        self.issuer = issuer(**options)
        self.limiter = RateLimiter(lambda: self.now)

    def ask(self, number: int, client: Client = ANN) -> SlotDecision:
        return self.limiter.acquire(self.issuer, ref(number), client)

    def hear(
        self, number: int, outcome: TokenResponse, client: Client = ANN
    ) -> IssuerHealth | None:
        return self.limiter.record_outcome(self.issuer, ref(number), client, outcome)

    def exchange(
        self, number: int, outcome: TokenResponse, client: Client = ANN
    ) -> IssuerHealth | None:
        """One that is let through at once."""
        assert self.ask(number, client) == GO
        told = self.hear(number, outcome, client)
        self.now += 1.0
        return told

    def state(self) -> BreakerState:
        return self.limiter.loads()[0].state

    def kill(self) -> None:
        for number in range(3):
            self.exchange(number, GONE)
        self.now -= 1.0
        assert self.state() is BreakerState.OPEN

    def wait(self, number: int, client: Client = ANN) -> float:
        turn = self.ask(number, client)
        assert not turn.probe
        assert not turn.client_refused
        return turn.wait


def drain(stage: Stage, numbers: Iterable[int], service: float = 0.0) -> list[tuple[float, int]]:
    """Let tokens come back when they were told to, until all have been served; when they were."""
    due = sorted((stage.now, number) for number in numbers)
    busy: list[tuple[float, int]] = []
    served: list[tuple[float, int]] = []
    while due or busy:
        if busy and (not due or busy[0][0] <= due[0][0]):
            stage.now, number = busy.pop(0)
            stage.hear(number, OK)
            continue
        stage.now, number = due.pop(0)
        pause = stage.wait(number)
        if pause:
            due = sorted([*due, (stage.now + pause, number)])
        else:
            served.append((stage.now, number))
            busy = sorted([*busy, (stage.now + service, number)])
    return served


def test_ten_thousand_tokens_come_back_one_by_one_in_their_order() -> None:
    stage = Stage()
    asked = 0

    def ask(number: int) -> float:
        nonlocal asked
        asked += 1
        return stage.wait(number)

    pauses = [ask(number) for number in range(10_000)]
    assert pauses == sorted(pauses)
    assert max(pauses) == pytest.approx(10_000 / 50, rel=0.01)
    first = stage.now
    for number, pause in enumerate(pauses):
        if pause:
            stage.now = first + pause
            assert ask(number) == 0
        stage.hear(number, OK)
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
    stage = Stage(rate=rate, in_flight=in_flight)
    due = sorted((1000.0 + at, number) for number, at in enumerate(arrivals))
    busy: list[tuple[float, int]] = []
    times: list[float] = []
    while due or busy:
        if busy and (not due or busy[0][0] <= due[0][0]):
            stage.now, number = busy.pop(0)
            stage.hear(number, OK)
            continue
        stage.now, number = due.pop(0)
        if pause := stage.wait(number):
            due = sorted([*due, (stage.now + pause, number)])
        else:
            times.append(stage.now)
            busy = sorted([*busy, (stage.now + service, number)])
            assert len(busy) <= in_flight
    assert len(times) == len(arrivals), "everybody is served"
    for first in range(len(times)):
        for last in range(first, len(times)):
            window = times[last] - times[first]
            assert last - first + 1 <= rate * (window + LATENESS_SECONDS) + 1 + 1e-6
    assert times[-1] - times[0] <= 10 + len(times) * (1 / rate + service / in_flight + 1)


def test_who_comes_early_waits_for_the_same_instant() -> None:
    stage = Stage(rate=1.0)
    assert stage.wait(0) == 0
    pause = stage.wait(1)
    for _ in range(100):
        stage.now += pause / 200
        stage.wait(1)
    assert stage.wait(1) == pytest.approx(pause / 2)
    assert stage.wait(2) == pytest.approx(pause / 2 + 1), "nobody was pushed out by that"


def test_a_slot_that_is_given_back_is_free() -> None:
    stage = Stage(in_flight=1, rate=1000.0)
    assert stage.wait(0) == 0
    assert stage.wait(1) > 0
    stage.limiter.release(stage.issuer, ANN)
    stage.now += 1.0
    assert stage.wait(1) == 0


def test_nobody_overtakes_those_who_wait() -> None:
    stage = Stage(rate=1.0)
    pauses = [stage.wait(number) for number in range(5)]
    stage.now += 1.5  # when number 1 could have gone, a newcomer asks
    assert stage.wait(99) > pauses[-1] - 1.5


def test_retry_after_pauses_the_client_and_nobody_else() -> None:
    stage = Stage()
    stage.exchange(0, Failure(FailureReason.THROTTLED, 30.0))
    assert 28.9 < stage.wait(1) < 29.5
    stage.exchange(2, OK, BEN)
    stage.now += 30.0
    stage.exchange(3, OK)


def test_a_second_client_that_is_throttled_pauses_the_issuer() -> None:
    stage = Stage()
    stage.exchange(0, Failure(FailureReason.THROTTLED, 30.0))
    stage.exchange(1, Failure(FailureReason.THROTTLED, 40.0), BEN)
    other = Client("third", Sensitive(""))
    assert stage.wait(2, other) == pytest.approx(28.0)
    rate = stage.limiter.loads()[0].allowed
    assert rate == 25.0, "and it goes on slower"
    stage.now += 100.0
    for number in range(40):
        stage.exchange(number, OK, other)
    assert stage.limiter.loads()[0].allowed == 50.0


def test_a_client_that_is_throttled_twice_pauses_only_itself() -> None:
    stage = Stage(rate=1000.0)
    for number in range(2):
        assert stage.ask(number) == GO
        stage.now += 1.0
    for number in range(2):
        stage.hear(number, Failure(FailureReason.THROTTLED, 30.0))
    assert stage.wait(3, BEN) == 0


def test_a_batch_that_is_throttled_at_once_counts_as_one() -> None:
    stage = Stage(rate=1000.0)
    for number in range(10):
        assert stage.ask(number) == GO
        stage.now += 0.001
    for number in range(10):
        stage.hear(number, Failure(FailureReason.THROTTLED))
    assert stage.wait(50) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("said", "least", "most"), [(0.0, 0.9, 1.0), (1e9, 3599, 3600), (None, 1.9, 2.0)], ids=str
)
def test_a_pause_is_neither_nothing_nor_for_ever(
    said: float | None, least: float, most: float
) -> None:
    stage = Stage()
    assert stage.ask(0) == GO
    stage.hear(0, Failure(FailureReason.THROTTLED, said))
    assert least <= stage.wait(1) <= most


def test_pauses_without_a_word_grow_and_end_with_a_success() -> None:
    stage = Stage()
    seen = []
    for number in range(8):
        assert stage.ask(number) == GO
        stage.hear(number, Failure(FailureReason.THROTTLED))
        seen.append(stage.wait(100 + number))
        stage.now += 100.0
    assert seen[:3] == [2.0, 4.0, 8.0]
    assert seen[-1] == 60.0
    stage.exchange(50, OK)
    assert stage.ask(51) == GO
    stage.hear(51, Failure(FailureReason.THROTTLED))
    assert stage.wait(52) == 2.0


def reject(stage: Stage, times: int) -> None:
    """Have a client refused so often, each time as soon as it may be tried again."""
    for number in range(times):
        assert stage.ask(number) == GO
        stage.hear(number, REFUSED)
        if number < times - 1:
            stage.now += 2.0 ** (number + 1) + 1.0


def test_a_refused_client_is_tried_three_times_and_then_every_half_an_hour() -> None:
    stage = Stage()
    waits = []
    for number in range(6):
        assert stage.ask(number) == GO
        stage.hear(number, REFUSED)
        stage.ask(100 + number)  # is told, or waits
        waits.append(stage.wait(100 + number))
        stage.now += waits[-1] + 1.0
    assert waits == [pytest.approx(w, abs=0.1) for w in (2, 4, 8, 1800, 1800, 1800)]


def test_a_refused_client_hurts_no_other_one() -> None:
    stage = Stage()
    reject(stage, 4)
    assert stage.wait(50, BEN) == 0
    assert stage.ask(7).client_refused
    assert stage.wait(7) > 1700
    corrected = Client(ANN.client_id, Sensitive("corrected"))
    assert stage.wait(7, corrected) == 0, "other credentials are another client"


@pytest.mark.parametrize(
    ("between", "pause"),
    [(GONE, 8.0), (SILENT, 8.0), (OK, 2.0), (Failure(FailureReason.INVALID_GRANT), 2.0)],
    ids=repr,
)
def test_only_an_answer_to_a_client_that_was_let_in_makes_up_for_refusals(
    between: TokenResponse, pause: float
) -> None:
    stage = Stage()
    reject(stage, 2)
    stage.now += 10.0
    stage.exchange(10, between)
    assert stage.ask(11) == GO
    stage.hear(11, REFUSED)
    assert stage.wait(12) == pytest.approx(pause, abs=0.1)


def test_who_comes_back_too_late_is_not_sent_to_the_end_of_the_line() -> None:
    stage = Stage(rate=1.0)
    for number in range(100):
        stage.wait(number)
    stage.now += 50.0  # all workers were busy
    waits = [stage.wait(number) for number in range(1, 51)]
    assert waits == sorted(waits)
    assert waits[-1] < 51


def test_each_token_of_a_refused_client_is_told_once_without_a_request() -> None:
    stage = Stage()
    reject(stage, 4)
    assert [stage.ask(number).client_refused for number in (7, 8, 7)] == [True, True, False]
    assert stage.limiter.loads()[0].in_flight == 0
    assert stage.wait(7) > 1700


def test_after_half_an_hour_one_tries_for_all() -> None:
    stage = Stage()
    reject(stage, 4)
    stage.now += 1801.0
    assert stage.ask(0) == GO
    assert stage.wait(1) > 0
    stage.hear(0, OK)
    stage.now += 2.0
    assert [stage.wait(number) for number in (1, 2)] == [0, 0.0]


def test_a_batch_that_is_refused_at_once_counts_as_one_try() -> None:
    stage = Stage(rate=1000.0)
    for number in range(10):
        assert stage.ask(number) == GO
        stage.now += 0.001
    for number in range(10):
        stage.hear(number, REFUSED)
    assert stage.wait(50) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("silence", [GONE, SILENT, Failure(FailureReason.SERVER_ERROR)], ids=repr)
def test_a_dead_issuer_is_probed_and_nobody_sends(silence: TokenResponse) -> None:
    stage = Stage()
    for number in range(3):
        stage.exchange(number, silence)
    assert stage.state() is BreakerState.OPEN
    stage.now += 10.0
    assert stage.ask(5) == SlotDecision(probe=True)
    assert 0 < stage.wait(6) <= 1.0, "one looks for all"
    stage.limiter.record_probe(stage.issuer, alive=False)
    assert 0 < stage.wait(7) <= 5.0
    stage.now += 10.0
    assert stage.ask(8).probe
    stage.limiter.record_probe(stage.issuer, alive=True)
    assert stage.state() is BreakerState.HALF_OPEN
    assert stage.ask(8) == GO
    assert stage.wait(9) > 0, "one tries for all"
    stage.hear(8, OK)
    assert stage.state() is BreakerState.CLOSED


def test_a_trial_that_fails_opens_it_again() -> None:
    stage = Stage()
    stage.kill()
    stage.now += 10.0
    assert stage.ask(5).probe
    stage.limiter.record_probe(stage.issuer, alive=True)
    stage.exchange(5, SILENT)
    assert stage.state() is BreakerState.OPEN


def test_one_token_does_not_kill_an_issuer() -> None:
    stage = Stage()
    for _ in range(20):
        stage.exchange(1, SILENT)
        stage.exchange(2, GONE)
    assert stage.state() is BreakerState.CLOSED


def test_failures_with_an_answer_in_between_do_not_kill_an_issuer() -> None:
    stage = Stage()
    for number in range(20):
        stage.exchange(number, Failure(FailureReason.INVALID_GRANT) if number % 3 == 2 else GONE)
    assert stage.state() is BreakerState.CLOSED


def test_a_dead_issuer_is_looked_at_every_few_seconds_at_most() -> None:
    stage = Stage()
    stage.kill()
    began, probes = stage.now, 0
    while stage.now < began + 600:
        turn = stage.ask(99)
        if turn.probe:
            probes += 1
            stage.limiter.record_probe(stage.issuer, alive=False)
        else:
            assert 0 < turn.wait <= 5.1
            stage.now += turn.wait
    assert 600 / 5 <= probes <= 600 / 2


def test_a_prober_that_never_comes_back_is_replaced() -> None:
    stage = Stage()
    stage.kill()
    stage.now += 10.0
    assert stage.ask(5).probe
    stage.now += 31.0
    assert stage.ask(6).probe


def test_an_answer_that_was_under_way_closes_the_breaker() -> None:
    stage = Stage()
    assert stage.ask(9) == GO
    stage.now += 1.0
    stage.kill()
    stage.hear(9, OK)
    assert stage.state() is BreakerState.CLOSED


def test_after_an_outage_everybody_comes_one_by_one() -> None:
    stage = Stage()
    stage.kill()
    waits = [stage.wait(number) for number in range(100, 1100)]
    stage.now += 10.0
    assert max(waits) - min(waits) == pytest.approx(999 / 50, abs=0.1)


def test_each_change_for_better_or_worse_is_told_once() -> None:
    stage = Stage()
    told = [stage.exchange(number, GONE) for number in range(3)]
    assert told == [None, None, IssuerHealth.UNREACHABLE]
    stage.now += 10.0
    assert stage.ask(5).probe
    stage.limiter.record_probe(stage.issuer, alive=True)
    assert stage.exchange(5, GONE) is None, "it is still as it was"
    stage.now += 10.0
    assert stage.ask(6).probe
    stage.limiter.record_probe(stage.issuer, alive=True)
    assert stage.limiter.reports_for_all_tokens("demo")
    assert stage.exchange(6, OK) is IssuerHealth.AVAILABLE
    assert stage.limiter.reports_for_all_tokens("demo"), "its tokens have not all been served yet"
    stage.now += 3600.0
    assert not stage.limiter.reports_for_all_tokens("demo")
    assert not stage.limiter.reports_for_all_tokens("unheard of")


def test_a_server_that_slows_several_clients_down_is_in_trouble_until_it_serves_one() -> None:
    stage = Stage()
    slow = Failure(FailureReason.THROTTLED, 5.0)
    assert stage.ask(0, ANN) == stage.ask(1, BEN) == GO
    assert stage.hear(0, slow, ANN) is None
    assert not stage.limiter.reports_for_all_tokens("demo"), "one client is no issuer"
    assert stage.hear(1, slow, BEN) is IssuerHealth.THROTTLED
    stage.now += 60.0
    assert stage.exchange(2, OK) is IssuerHealth.AVAILABLE


def test_issuers_have_nothing_to_do_with_each_other() -> None:
    stage = Stage()
    stage.kill()
    other = issuer("other")
    assert stage.limiter.acquire(other, ref(0), ANN) == GO
    assert {load.issuer: load.state for load in stage.limiter.loads()} == {
        "demo": BreakerState.OPEN,
        "other": BreakerState.CLOSED,
    }


def test_the_configured_rate_counts_as_soon_as_it_changes() -> None:
    stage = Stage(rate=50.0)
    stage.exchange(0, OK)
    stage.issuer = issuer(rate=0.1)
    stage.exchange(1, OK)
    assert stage.wait(2) == pytest.approx(9.0, abs=0.1)


def test_what_nobody_asks_for_is_forgotten() -> None:
    stage = Stage()
    for number in range(2000):
        stage.ask(number, Client(f"client-{number}", Sensitive("")))
        stage.limiter.acquire(issuer(f"issuer-{number}"), ref(0), ANN)
    for number in range(2000):
        stage.limiter.release(issuer(f"issuer-{number}"), ANN)
    stage.now += 4000.0
    stage.limiter.acquire(issuer("fresh"), ref(0), ANN)
    stage.wait(0)
    gates = stage.limiter._limits
    assert set(gates) <= {"fresh", "demo"}
    assert len(gates["demo"][1]._reservations) <= 1
    assert sum(len(gate._clients) for _, gate in gates.values()) < 100


def test_demand_counts_a_token_once_however_often_it_comes_back() -> None:
    stage = Stage(rate=1.0)
    assert [number for _, number in drain(stage, range(10))] == list(range(10))
    [load] = stage.limiter.loads()
    assert (load.demanded, load.in_flight, load.waiting) == (10, 0, 0)


def test_slow_answers_do_not_starve_anybody() -> None:
    stage = Stage(in_flight=4)
    served = drain(stage, range(40), service=5.0)
    assert sorted(number for _, number in served) == list(range(40))
    assert served[-1][0] - 1000.0 < 40 * 5.0 / 4 + 15
    assert math.isfinite(served[-1][0])
