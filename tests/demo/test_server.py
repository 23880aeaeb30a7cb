"""Bodies, their limits, and the end of connections, over real sockets."""

import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from csidriver.demo.issuer import StrictIssuer
from tests.demo.client import TIMEOUT, post

CLIENTS = [RegisteredClient("app", Sensitive("s3cret")), RegisteredClient("public", None)]


@pytest.fixture
def issuer() -> Iterator[StrictIssuer]:
    with StrictIssuer(clients=CLIENTS) as running:
        yield running


def test_body_limit_is_64_kib(issuer: StrictIssuer) -> None:
    seed = issuer.seed("app")
    start = f"grant_type=refresh_token&refresh_token={seed.reveal()}&padding="
    limit = 64 * 1024
    refused = {}
    for size in (limit + 1, 10 * limit, limit):
        body = start.ljust(size, "x").encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = post(f"{issuer.url}/token", body, headers=headers, auth=("app", "s3cret"))
        refused[size] = reply.status_code
    assert refused == {limit + 1: 413, 10 * limit: 413, limit: 200}


@pytest.mark.parametrize(
    ("header", "status"),
    [("Transfer-Encoding: chunked", 411), ("X: y", 411), ("Content-Length: -1", 400)],
)
def test_bodies_of_unclear_length_are_refused(
    issuer: StrictIssuer, header: str, status: int
) -> None:
    parts = urlsplit(issuer.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), TIMEOUT) as raw:
        raw.sendall(f"POST /token HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        assert raw.makefile("rb").readline().split()[1] == str(status).encode()


def test_half_a_body_is_not_handled(issuer: StrictIssuer) -> None:
    seed, parts = issuer.seed("public"), urlsplit(issuer.url)
    form = f"grant_type=refresh_token&client_id=public&refresh_token={seed.reveal()}"
    head = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded"
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), TIMEOUT) as raw:
        raw.sendall(f"{head}\r\nContent-Length: {len(form) + 1}\r\n\r\n{form}".encode())
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(1) == b""
    assert issuer.presentations() == ()


def test_stop_ends_idle_connections_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with StrictIssuer(clients=CLIENTS) as issuer, requests.Session() as session:
        assert session.get(issuer.url, timeout=TIMEOUT).status_code == 404
        stopping = threading.Thread(target=issuer.stop)
        stopping.start()
        stopping.join(TIMEOUT)
        left = set(threading.enumerate()) - before
    assert not left
