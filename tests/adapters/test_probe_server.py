import http.client
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from csidriver.adapters.probe_server import ProbeServer


@pytest.fixture
def server() -> Iterator[ProbeServer]:
    registry = CollectorRegistry()
    Gauge("tokens", "Tokens", registry=registry).set(3)
    checks = {"healthz": list[str], "readyz": lambda: ["no lease", "no store"]}
    running = ProbeServer(("127.0.0.1", 0), registry, checks)
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/healthz", 200, "ok\n"),
        ("/readyz?verbose", 503, "no lease\nno store\n"),
        ("/other", 404, "no such page\n"),
    ],
)
def test_a_check_is_a_page(server: ProbeServer, path: str, status: int, body: str) -> None:
    assert get(server, path) == (status, body)


def test_metrics_are_a_page(server: ProbeServer) -> None:
    status, body = get(server, "/metrics")
    assert (status, "tokens 3.0" in body) == (200, True)


def get(server: ProbeServer, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.address[1], timeout=10)
    connection.request("GET", path)
    with connection.getresponse() as response:
        found = response.status, response.read().decode()
    connection.close()
    return found
