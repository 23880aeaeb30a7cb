"""Bodies, their limits, and the end of connections, over real sockets."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from csidriver.demo.issuer import StrictIssuer
from csidriver.demo.server import origin_form
from csidriver.listener import host_and_port
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
    for size in (limit + 1, limit):
        body = start.ljust(size, "x").encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = post(f"{issuer.url}/token", body, headers=headers, auth=("app", "s3cret"))
        refused[size] = reply.status_code
    assert refused == {limit + 1: 413, limit: 200}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Transfer-Encoding: chunked", b"411"),
        ("X: y", b"411"),
        ("Content-Length: -1", b"400"),
        ("Content-Length: ²", b"400"),
        ("Content-Length: 1\r\nContent-Length: 2", b"400"),
    ],
)
def test_bodies_of_unclear_length_are_refused(
    issuer: StrictIssuer, header: str, status: bytes
) -> None:
    parts = urlsplit(issuer.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), TIMEOUT) as raw:
        raw.sendall(f"POST /token HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode("latin-1"))
        assert raw.makefile("rb").readline().split()[1] == status


def test_half_a_body_is_not_handled(issuer: StrictIssuer) -> None:
    seed, parts = issuer.seed("public"), urlsplit(issuer.url)
    form = f"grant_type=refresh_token&client_id=public&refresh_token={seed.reveal()}"
    head = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded"
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), TIMEOUT) as raw:
        raw.sendall(f"{head}\r\nContent-Length: {len(form) + 1}\r\n\r\n{form}".encode())
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(1) == b""
    assert issuer.presentations() == ()


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        ("/token", "/token"),
        ("/device?next=http://x/y", "/device?next=http://x/y"),
        ("http://localhost:8085/device?user_code=A", "/device?user_code=A"),
        ("http://localhost:8085", "/"),
    ],
)
def test_a_target_may_have_scheme_and_host(target: str, origin: str) -> None:
    assert origin_form(target) == origin


def test_a_request_for_a_proxy_is_served() -> None:
    """The refresher reaches the demo's server in a cluster like this."""
    with StrictIssuer(clients=CLIENTS, issuer="http://localhost:8085") as running:
        proxies = {"http": f"http://{host_and_port(running._address)}"}
        with requests.Session() as session:
            session.trust_env = False  # it may name no proxy for localhost
            url = "http://localhost:8085/.well-known/openid-configuration"
            reply = session.get(url, proxies=proxies, timeout=TIMEOUT)
    assert reply.json()["issuer"] == "http://localhost:8085"
