import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.issuer_limits import LATENESS_SECONDS, IssuerHealth
from tests.refresher.limiter_bench import ANN, BEN, OK, LimiterBench, drain

THROTTLED = Failure(FailureReason.THROTTLED, 3600.0)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([0.5, 2.0, 50.0]),
    in_flight=st.integers(1, 20),
    service=st.floats(0.0, 3.0),
    arrivals=st.lists(
        st.tuples(st.floats(0.0, 5.0), st.sampled_from("abc")), min_size=1, max_size=60
    ),
)
def test_rate_and_slots_hold_over_every_window(
    rate: float, in_flight: int, service: float, arrivals: list[tuple[float, str]]
) -> None:
    bench = LimiterBench(rate=rate, in_flight=in_flight)
    tokens = {SourceRef(name, f"t{n}"): 1000.0 + at for n, (at, name) in enumerate(arrivals)}
    times = [at for at, _ in drain(bench, tokens, service, arrive=tokens)]
    assert len(times) == len(arrivals), "everybody is served"
    for first in range(len(times)):
        for last in range(first, len(times)):
            window = times[last] - times[first]
            assert last - first + 1 <= rate * (window + LATENESS_SECONDS) + 1 + 1e-6
        if service and first + in_flight < len(times):
            assert times[first + in_flight] >= times[first] + service - 1e-6
    assert times[-1] - times[0] <= 10 + len(times) * (1 / rate + service / in_flight + 1)


def test_who_asks_again_keeps_its_place() -> None:
    bench = LimiterBench(rate=1.0)
    assert bench.wait(0) == 0
    assert bench.wait(1) >= 1
    for _ in range(100):
        assert bench.wait(1) >= 1
        assert bench.wait(2) >= 1
    bench.now += 1.0
    assert bench.call() == "token-1"
    assert bench.wait(2) > 0, "it is the turn of another one"
    assert bench.wait(1) == 0
    assert bench.call() == pytest.approx(1.0, abs=LATENESS_SECONDS)


def throttle(bench: LimiterBench, number: int, seconds: float, namespace: str) -> None:
    """Have a client throttled that has had a success before."""
    for outcome in (OK, Failure(FailureReason.THROTTLED, seconds)):
        bench.request(number, outcome, namespace=namespace)


def test_a_second_namespace_that_is_throttled_pauses_the_issuer() -> None:
    bench = LimiterBench()
    throttle(bench, 0, 30.0, "physics")
    throttle(bench, 1, 40.0, "biology")
    assert bench.wait(2, namespace="chemistry") > 25
    assert bench.call() == pytest.approx(27.0)
    rate = bench.limiter.loads()[0].allowed
    assert rate == 25.0, "and it goes on slower"
    bench.now += 100.0
    assert bench.call() == "token-2"
    bench.request(2, OK, namespace="chemistry")
    for number in range(40):
        bench.request(number, OK, namespace="chemistry")
    assert bench.limiter.loads()[0].allowed == 50.0


@pytest.mark.parametrize("namespaces", [("evil", "evil"), ("evil", "vile")], ids=str)
def test_made_up_clients_that_are_throttled_pause_no_other_namespace(
    namespaces: tuple[str, str],
) -> None:
    bench = LimiterBench()
    for number, namespace in enumerate(namespaces):
        invented = Client(ANN.client_id, Sensitive(f"made up {number}"))
        bench.request(number, THROTTLED, invented, namespace=namespace)
    assert bench.wait(2, namespace="victim") == 0
    assert bench.limiter.loads()[0].allowed == 50.0


def test_clients_of_one_namespace_that_are_throttled_pause_no_other_one() -> None:
    bench = LimiterBench()
    for number, client in enumerate((ANN, BEN)):
        for outcome in (OK, THROTTLED):
            bench.request(number, outcome, client, namespace="evil")
        assert bench.wait(2, namespace="evil") > 3500
        assert bench.wait(2, namespace="victim") == 0


def test_a_server_that_slows_several_namespaces_down_is_in_trouble_until_it_serves_one() -> None:
    bench = LimiterBench()
    throttle(bench, 0, 5.0, "physics")
    assert not bench.limiter.reports_for_all_tokens("demo"), "one namespace is no issuer"
    assert bench.request(1, OK, namespace="biology") is None
    throttled = bench.request(1, Failure(FailureReason.THROTTLED, 5.0), namespace="biology")
    assert throttled is IssuerHealth.THROTTLED
    bench.now += 60.0
    assert bench.request(2, OK) is IssuerHealth.AVAILABLE


def secrets(namespace: str, count: int) -> list[SourceRef]:
    return [SourceRef(namespace, f"token-{number}") for number in range(count)]


@pytest.mark.parametrize("service", [0.05, 2.0])
def test_a_victim_waits_a_couple_of_turns_beside_thousands(service: float) -> None:
    bench = LimiterBench(rate=50.0, in_flight=16)
    [victim] = secrets("victim", 1)
    arrive = {victim: bench.now + 10.0}
    served = drain(
        bench,
        [*secrets("evil", 2000), victim],
        service,
        arrive=arrive,
        until=bench.now + 20.0,
        returns="evil",  # reseeded at each refusal
    )
    [at] = [at for at, token in served if token == victim]
    assert at - arrive[victim] <= 2 * max(1 / 50, service / 16) + 1e-6


def test_what_waits_for_nothing_takes_no_memory() -> None:
    bench = LimiterBench(rate=1000.0)
    drain(bench, [token for number in range(50) for token in secrets(f"ns-{number}", 3)])
    _, limits = bench.limiter._limits["demo"]
    assert not limits._lines.lines
    assert not limits._lines.in_progress
    assert not limits._called
