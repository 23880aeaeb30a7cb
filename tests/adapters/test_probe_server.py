import contextlib
import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, Gauge

from csidriver.adapters.probe_server import HealthServer, MetricsServer
from csidriver.http_server.server import HttpServer

LOCAL = ("127.0.0.1", 0)


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("tokens", "Tokens", registry=made).set(3)
    return made


@contextlib.contextmanager
def running(server: HttpServer) -> Iterator[HttpServer]:
    server.start()
    yield server
    server.stop()


def test_each_check_is_a_page_and_metrics_are_elsewhere(registry: CollectorRegistry) -> None:
    checks = {"healthz": list[str], "readyz": lambda: ["no lease", "no store"]}
    with running(HealthServer(LOCAL, checks)) as health:
        assert get(health, "/healthz") == (200, "ok\n")
        assert get(health, "/readyz?verbose") == (503, "no lease\nno store\n")
        assert get(health, "/metrics") == (404, "no such page\n")
    with running(MetricsServer(LOCAL, registry)) as metrics:
        status, body = get(metrics, "/metrics")
        assert (status, "tokens 3.0" in body) == (200, True)
        assert get(metrics, "/healthz")[0] == 404


def test_one_page_of_metrics_is_made_at_a_time(registry: CollectorRegistry) -> None:
    page, met = threading.Lock(), list[str]()

    def meet() -> float:
        if page.acquire(blocking=False):
            threading.Event().wait(0.005)  # lets others in, if anything does
            page.release()
        else:
            met.append("another one")
        return 0.0

    Gauge("alone", "Of one page", registry=registry).set_function(meet)
    with running(MetricsServer(LOCAL, registry)) as metrics, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: get(metrics, "/metrics")[0], range(8)))
    assert (found, met) == ([200] * 8, [])


def get(server: HttpServer, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.address[1], timeout=10)
    connection.request("GET", path)
    with connection.getresponse() as response:
        found = response.status, response.read().decode()
    connection.close()
    return found
