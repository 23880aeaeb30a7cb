"""The token endpoint client against peers that are worse than a strict server."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.adapters.oauth.peer import (
    APP,
    PATIENT,
    RT,
    WELL_KNOWN,
    WELL_KNOWN_OAUTH,
    Peer,
    at_peer,
    certificate,
    described,
    discoverable,
    http,
    paths,
    refresh,
    send,
    signing_client,
)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (http(b"[]"), FailureReason.METADATA),
        (http(b"", "404 Not Found"), FailureReason.METADATA),
        (http(b"", "302 Found", "Location: http://[\r\n"), FailureReason.METADATA),
        (http(b"", "429 Too Many Requests"), FailureReason.UNREACHABLE),
        (http(b" " * 2_000_000), FailureReason.UNREACHABLE),
        (http()[:-5], FailureReason.UNREACHABLE),
        (b"\x00\xff garbage\r\n\r\n", FailureReason.UNREACHABLE),
    ],
    ids=range(7),
)
def test_no_failure_of_discovery_is_uncertain(reply: bytes, expected: FailureReason) -> None:
    with Peer(reply) as peer:
        outcome = refresh(discoverable(peer))
        assert isinstance(outcome, Failure)
        assert (outcome.reason, outcome.reason.consumption) == (expected, Consumption.NOT_SENT)
        assert RT.reveal() not in "".join(peer.requests)


def test_metadata_is_read_once_and_again_when_the_endpoint_is_in_doubt() -> None:
    with Peer(b"") as peer:
        endpoints, issuer = TokenEndpoints(), discoverable(peer)
        good = peer.reply = described(peer)
        for _ in range(2):
            assert isinstance(send(endpoints, issuer), Success)
        assert paths(peer) == [WELL_KNOWN, "/t", "/t"]
        for doubt in ("404 Not Found", "307 Temporary Redirect"):
            peer.requests.clear()
            peer.reply = http(b"", doubt)
            assert isinstance(send(endpoints, issuer), Failure)
            peer.reply = good
            assert isinstance(send(endpoints, issuer), Success)
            assert paths(peer) == ["/t", WELL_KNOWN, "/t"]


def test_a_reconfigured_issuer_of_the_same_name_is_discovered_anew() -> None:
    with Peer(b"") as old, Peer(b"") as new:
        old.reply, new.reply = described(old), described(new)
        endpoints = TokenEndpoints()
        assert isinstance(send(endpoints, discoverable(old)), Success)
        assert isinstance(send(endpoints, discoverable(new), Sensitive("new")), Success)
        assert paths(new) == [WELL_KNOWN, "/t"]
        assert len(old.requests) == 2


def test_a_request_without_the_scope_needs_no_metadata_of_its_own() -> None:
    with Peer(b"") as peer:
        endpoints, issuer = TokenEndpoints(), discoverable(peer, scope="a b")
        peer.reply = described(peer)
        for asked in (issuer, replace(issuer, scope=""), issuer):
            assert isinstance(send(endpoints, asked), Success)
        assert paths(peer) == [WELL_KNOWN, "/t", "/t", "/t"]


def introspectable(peer: Peer, **options: Any) -> Issuer:
    return at_peer(peer, introspection_endpoint=f"http://{peer.address}/introspect", **options)


def introspect(
    issuer: Issuer, client: Client = APP, timeout: float = PATIENT, token: Sensitive = RT
) -> Introspection:
    return TokenEndpoints().introspect(issuer, client, token, timeout)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (http(b'{"active":true,"exp":1}'), Introspection.ACTIVE),
        (http(b'{"active":false}')[:-1], Introspection.SILENT),
        (http(b"", "302 Found", "Location: /\r\n"), Introspection.SILENT),
        (http(b'{"active":false}', "401 Unauthorized"), Introspection.UNCLEAR),
        (b"", Introspection.SILENT),
    ],
    ids=range(5),
)
def test_only_a_plain_answer_says_whether_a_token_is_active(
    reply: bytes, expected: Introspection
) -> None:
    with Peer(reply) as peer:
        assert introspect(introspectable(peer)) is expected
        assert paths(peer) == ["/introspect"]
        assert peer.form() == {"token": [RT.reveal()], "token_type_hint": ["refresh_token"]}
        assert peer.headers()["authorization"].startswith("Basic ")


def test_an_issuer_without_an_introspection_endpoint_never_says_anything() -> None:
    with Peer(http(b'{"active":false}')) as peer:
        assert introspect(at_peer(peer)) is Introspection.REFUSED
        assert peer.connections == 0
        peer.by_path = {WELL_KNOWN: described(peer)}
        assert introspect(discoverable(peer)) is Introspection.REFUSED
        assert paths(peer) == [WELL_KNOWN]


@pytest.mark.parametrize("metadata", [b"", http(b"<html>")], ids=["cut", "maintenance"])
def test_an_issuer_whose_metadata_cannot_be_read_may_say_more_later(metadata: bytes) -> None:
    with Peer(metadata) as peer:
        assert introspect(discoverable(peer)) is Introspection.SILENT
        assert paths(peer) == [WELL_KNOWN]


def test_a_bad_introspection_endpoint_is_not_asked_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Peer(b"") as peer:
        peer.reply = described(peer, introspection_endpoint="ftp://127.0.0.1/i")
        endpoints, issuer = TokenEndpoints(), discoverable(peer)
        assert endpoints.introspect(issuer, APP, RT, PATIENT) is Introspection.REFUSED
        assert isinstance(send(endpoints, issuer), Success)
        assert paths(peer) == [WELL_KNOWN, "/t"]
    assert "metadata of issuer meta: its introspection_endpoint must be" in caplog.text


@pytest.mark.parametrize(
    ("replies", "alive"),
    [
        ({WELL_KNOWN: http(b"", "500 Oops"), "/t": http(b"", "405 No")}, True),
        (dict.fromkeys((WELL_KNOWN, WELL_KNOWN_OAUTH), http(b"", "404 Not Found")), True),
        ({WELL_KNOWN: http(b"<html>"), "/t": http(b"", "405 No")}, False),
    ],
    ids=["no metadata, but an endpoint", "no page", "maintenance"],
)
def test_a_probe_looks_for_a_sign_of_life(replies: Mapping[str, bytes], *, alive: bool) -> None:
    with Peer(b"") as peer:
        endpoints, issuer = TokenEndpoints(), discoverable(peer)
        peer.reply = described(peer)
        assert endpoints.probe(issuer)
        assert isinstance(send(endpoints, issuer), Success)
        peer.requests.clear()
        peer.reply, peer.by_path = b"", dict(replies)
        assert endpoints.probe(issuer) is alive
        assert RT.reveal() not in "".join(peer.requests)
        assert all(request.startswith("GET ") for request in peer.requests)


@pytest.mark.parametrize(
    ("reply", "alive"),
    [
        (http(b"", "302 Found", "Location: /\r\n"), True),
        (http(b"<html>"), False),
    ],
    ids=["redirect", "page"],
)
def test_a_probe_of_a_configured_endpoint_asks_that(reply: bytes, *, alive: bool) -> None:
    with Peer(reply) as peer:
        assert TokenEndpoints().probe(at_peer(peer)) is alive
        assert [request.split(" ", 2)[:2] for request in peer.requests] == [["GET", "/token"]]
    assert not TokenEndpoints().probe(at_peer(peer))


def test_a_server_whose_certificate_is_not_trusted_is_alive(tmp_path: Path) -> None:
    _, context = certificate(tmp_path)
    with Peer(http(), tls=context) as peer:
        assert TokenEndpoints().probe(at_peer(peer, "https"))


def test_an_assertion_for_the_token_endpoint_names_that_of_the_metadata() -> None:
    client, public_key = signing_client()
    with Peer(b"") as peer:
        peer.reply = described(peer, introspection_endpoint=f"http://{peer.address}/i")
        issuer = discoverable(
            peer, client_auth="private_key_jwt", assertion_audience="tokenEndpoint"
        )
        endpoints = TokenEndpoints()
        assert isinstance(send(endpoints, issuer, client=client), Success)
        endpoints.introspect(issuer, client, RT, PATIENT)
        assert paths(peer)[1:] == ["/t", "/i"]
        for sent in peer.requests[1:]:
            (signed,) = parse_qs(sent.partition("\r\n\r\n")[2])["client_assertion"]
            audience = f"http://{peer.address}/t"
            jwt.decode(signed, public_key, ["ES256"], audience=audience)
