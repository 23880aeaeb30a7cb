import pytest

from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.issuer_limits import IssuerHealth
from tests.refresher.limiter_bench import (
    OK,
    REFUSED,
    UNREACHABLE,
    LimiterBench,
    issuer,
)


def test_each_change_for_better_or_worse_is_told_once() -> None:
    bench = LimiterBench()
    told = [bench.request(number, UNREACHABLE) for number in range(3)]
    assert told == [None, None, IssuerHealth.UNREACHABLE]
    bench.now += 10.0
    assert bench.acquire(5).probe
    bench.limiter.record_probe(bench.issuer, alive=True)
    assert bench.request(5, UNREACHABLE) is None, "it is still as it was"
    bench.now += 10.0
    assert bench.acquire(6).probe
    bench.limiter.record_probe(bench.issuer, alive=True)
    assert bench.limiter.reports_for_all_tokens("demo")
    assert bench.request(6, OK) is IssuerHealth.AVAILABLE
    assert bench.limiter.reports_for_all_tokens("demo"), "its tokens have not all been served yet"
    bench.now += 3600.0
    assert not bench.limiter.reports_for_all_tokens("demo")
    assert not bench.limiter.reports_for_all_tokens("unheard of")


def test_the_configured_rate_counts_as_soon_as_it_changes() -> None:
    bench = LimiterBench(rate=50.0)
    bench.request(0, OK)
    bench.issuer = issuer(rate=0.1)
    bench.request(1, OK)
    assert bench.wait(2) > 0
    assert bench.call() == pytest.approx(9.0, abs=0.1)


def test_clients_that_a_user_invents_do_not_pile_up() -> None:
    bench = LimiterBench(rate=1e6)
    for number in range(10_000):
        bench.request(number, REFUSED, Client(f"invented-{number}", Sensitive("")))
        bench.now -= 0.98
    assert len(bench.limiter._limits["demo"][1]._clients) < 5000
