import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.adapters.oauth.http_client import Deadlines, HttpRequest
from csidriver.adapters.oauth.kept_connections import MAX_KEPT, KeptConnections
from csidriver.adapters.oauth.tls_contexts import TlsContexts
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_form import token_form
from csidriver.core.oauth.token_response import Success, TokenResponse
from tests.adapters.oauth.peer import (
    APP,
    BRIEF,
    LATE,
    PATIENT,
    TOKENS,
    Peer,
    at_peer,
    certificate,
    http,
    read_request,
    signal,
    signing_client,
)

CUT_OFF = http()[:-1]


def request(endpoints: TokenEndpoints, issuer: Issuer, timeout: float = PATIENT) -> TokenResponse:
    return endpoints.request(issuer, APP, token_form(issuer, GrantType.CLIENT_CREDENTIALS), timeout)


def get(issuer: Issuer) -> Callable[[], HttpRequest]:
    return lambda: HttpRequest("GET", issuer.token_endpoint)


@pytest.mark.parametrize(("reuse", "connections"), [(60.0, 3), (UNLIMITED, 1)])
def test_a_refresh_token_that_may_be_spent_gets_a_connection_of_its_own(
    reuse: float, connections: int
) -> None:
    with Peer(http(), per_connection=9) as peer:
        endpoints, issuer = TokenEndpoints(), at_peer(peer, reuse=reuse)
        for _ in range(3):
            sent = threading.Event()
            endpoints.refresh(issuer, APP, APP.client_secret, PATIENT, PATIENT, sent)
            assert sent.is_set()
        assert peer.connections == connections


def test_a_connection_that_is_closed_instead_of_an_answer_is_replaced_once() -> None:
    with Peer(http(), per_connection=9) as peer:
        endpoints, issuer = TokenEndpoints(), at_peer(peer)
        assert isinstance(request(endpoints, issuer), Success)
        peer.reply = b""
        assert signal(request(endpoints, issuer)) is FailureReason.NO_ANSWER
        assert (len(peer.requests), peer.connections) == (3, 2)
        peer.requests.clear()
        assert signal(request(endpoints, issuer)) is FailureReason.NO_ANSWER
        assert len(peer.requests) == 1, "a new connection is not replaced"


def test_a_request_that_is_sent_again_has_an_assertion_of_its_own() -> None:
    client, _ = signing_client()
    with Peer(http(), per_connection=9) as peer:
        issuer = at_peer(peer, client_auth="private_key_jwt", assertion_audience="tokenEndpoint")
        endpoints, form = TokenEndpoints(), token_form(issuer, GrantType.CLIENT_CREDENTIALS)
        assert isinstance(endpoints.request(issuer, client, form, PATIENT), Success)
        peer.reply = b""
        endpoints.request(issuer, client, form, PATIENT)
        bodies = [sent.partition("\r\n\r\n")[2] for sent in peer.requests]
        (found,) = zip(*[parse_qs(body)["client_assertion"] for body in bodies], strict=True)
    assert len(set(found)) == 3


# The reader of a response takes 8 KiB at once, TLS decrypts 16.
@pytest.mark.parametrize(("scheme", "spaces"), [("http", 0), ("https", 12_000)])
def test_an_answer_that_nobody_asked_for_answers_no_request(
    tmp_path: Path, scheme: str, spaces: int
) -> None:
    ca_file, tls = certificate(tmp_path)
    surplus = http(TOKENS + b" " * spaces) + http(b'{"access_token":"foreign"}')
    with Peer(surplus, tls=tls if spaces else None, per_connection=9) as peer:
        endpoints, issuer = TokenEndpoints(), at_peer(peer, scheme, ca_file=str(ca_file))
        for _ in range(2):
            response = request(endpoints, issuer)
            assert isinstance(response, Success)
            assert response.reply.value("access_token") == "at"
        assert peer.connections == 2 or not spaces


@pytest.mark.parametrize(
    "reply",
    [
        http(headers="Connection: close\r\n"),
        CUT_OFF,
        http(b" " * 2_000_000),
        http(status="421 Misdirected Request"),
    ],
    ids=["close", "cut off", "too large", "wrong connection"],
)
def test_a_connection_that_cannot_be_used_again_is_not_kept(reply: bytes) -> None:
    with Peer(reply, per_connection=9) as peer:
        if reply == CUT_OFF:
            peer.per_connection = 1
        endpoints, issuer = TokenEndpoints(), at_peer(peer)
        for _ in range(2):
            request(endpoints, issuer)
        assert (len(peer.requests), peer.connections) == (2, 2)
        assert peer.has_open(0)


def test_the_deadline_is_as_hard_over_a_kept_connection() -> None:
    with Peer(http(), per_connection=9) as peer:
        endpoints, issuer = TokenEndpoints(), at_peer(peer)
        assert isinstance(request(endpoints, issuer), Success)
        peer.slowly = 3
        peer.reply = http(b" " * 5000)
        began = time.monotonic()
        assert signal(request(endpoints, issuer, BRIEF)) is FailureReason.NO_ANSWER
        assert time.monotonic() - began < LATE
        assert len(peer.requests) == 2, "what takes too long is not sent again"
        peer.slowly = None
        peer.reply = http()
        assert isinstance(request(endpoints, issuer), Success)
        assert peer.connections == 2


def test_a_changed_ca_file_drops_the_connections(tmp_path: Path) -> None:
    ca_file, tls = certificate(tmp_path)
    with Peer(http(), tls=tls, per_connection=9) as peer:
        endpoints, issuer = TokenEndpoints(), at_peer(peer, "https", ca_file=str(ca_file))
        assert isinstance(request(endpoints, issuer), Success)
        certificate(tmp_path)
        assert signal(request(endpoints, issuer)) is FailureReason.TLS
        assert peer.has_open(0)


@pytest.mark.parametrize(
    "change", [{"proxy": "http://127.0.0.1:1"}, {"rate": 5.0}, {"namespaces": ("a",)}], ids=str
)
def test_a_changed_configuration_drops_the_connections(change: dict[str, Any]) -> None:
    with Peer(http(), per_connection=9) as peer:
        endpoints, issuer = TokenEndpoints(), at_peer(peer)
        request(endpoints, issuer)
        request(endpoints, replace(issuer, **change))
        assert peer.has_open(1 if "proxy" not in change else 0)
        assert peer.connections == (1 if "proxy" in change else 2)


class Tunnel(Peer):
    """A proxy, and whatever it is asked to connect to."""

    def serve(self, connection: socket.socket) -> None:
        assert read_request(connection).startswith("CONNECT 127.0.0.1:1 ")
        connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        super().serve(connection)


def test_a_tunnel_through_a_proxy_is_kept(tmp_path: Path) -> None:
    ca_file, tls = certificate(tmp_path)
    with Tunnel(http(), tls=tls, per_connection=2) as tunnel:
        issuer = at_peer(tunnel, ca_file=str(ca_file), proxy=f"http://{tunnel.address}")
        issuer = replace(issuer, token_endpoint="https://127.0.0.1:1/token")
        endpoints = TokenEndpoints()
        for _ in range(4):
            assert isinstance(request(endpoints, issuer), Success)
        assert tunnel.connections == 2


def test_few_connections_are_kept() -> None:
    together = threading.Barrier(MAX_KEPT + 2)
    with Peer(http(), per_connection=9) as peer:
        peer.before_reply = lambda: together.wait(PATIENT)
        endpoints, issuer = TokenEndpoints(), at_peer(peer)
        with ThreadPoolExecutor(MAX_KEPT + 2) as threads:
            found = list(threads.map(lambda _: request(endpoints, issuer), range(MAX_KEPT + 2)))
        assert all(isinstance(response, Success) for response in found)
        assert peer.connections == MAX_KEPT + 2
        assert peer.has_open(MAX_KEPT)


def test_an_idle_connection_is_closed_although_nobody_asks() -> None:
    with Peer(http(), per_connection=9) as peer:
        kept, issuer = KeptConnections(TlsContexts(), idle_seconds=BRIEF / 4), at_peer(peer)
        for _ in range(2):
            deadline = time.monotonic() + PATIENT
            kept.send(issuer, issuer.token_endpoint, get(issuer), Deadlines(deadline, deadline))
            assert peer.has_open(0)
        assert peer.connections == 2
