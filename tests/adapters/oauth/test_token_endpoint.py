import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import jwt
import pytest

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure, Success
from tests.adapters.oauth.peer import (
    APP,
    BRIEF,
    LATE,
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
        (http()[:-5], FailureReason.UNREACHABLE),
    ],
    ids=range(5),
)
def test_no_failure_of_discovery_is_uncertain(reply: bytes, expected: FailureReason) -> None:
    with Peer(reply) as peer:
        outcome = refresh(discoverable(peer))
        assert isinstance(outcome, Failure)
        assert (outcome.reason, outcome.reason.consumption) == (expected, Consumption.NOT_SENT)
        assert RT.reveal() not in "".join(peer.requests)


def test_metadata_is_read_once_and_again_when_the_endpoint_is_in_doubt_or_another_one() -> None:
    with Peer(b"") as peer, Peer(b"") as new:
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
        new.reply = described(new)
        assert isinstance(send(endpoints, discoverable(new)), Success)
        assert paths(new) == [WELL_KNOWN, "/t"]
        assert len(peer.requests) == 3


def test_requests_at_once_read_the_metadata_once() -> None:
    together = threading.Barrier(4)

    def send_with_others(_: int) -> object:
        together.wait(PATIENT)
        return send(endpoints, issuer)

    with Peer(b"") as peer, ThreadPoolExecutor(4) as pool:
        endpoints, issuer = TokenEndpoints(), discoverable(peer)
        peer.reply = described(peer)
        peer.before_reply = lambda: threading.Event().wait(0.2)
        assert all(isinstance(each, Success) for each in pool.map(send_with_others, range(4)))
        assert sorted(paths(peer)) == [WELL_KNOWN, *4 * ["/t"]]


def test_who_waits_for_the_metadata_of_a_silent_server_waits_until_the_deadline() -> None:
    with Peer(b"") as peer, ThreadPoolExecutor(2) as pool:
        endpoints, issuer, over = TokenEndpoints(), discoverable(peer), threading.Event()
        peer.before_reply = lambda: over.wait(PATIENT)
        pool.submit(send, endpoints, issuer)
        outcome = pool.submit(endpoints.refresh, issuer, APP, RT, BRIEF, BRIEF, threading.Event())
        assert outcome.result(LATE) == Failure(FailureReason.UNREACHABLE)
        over.set()


def introspect(issuer: Issuer) -> Introspection:
    return TokenEndpoints().introspect(issuer, APP, RT, PATIENT)


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
        url = f"http://{peer.address}/introspect"
        assert introspect(at_peer(peer, introspection_endpoint=url)) is expected
        assert paths(peer) == ["/introspect"]
        assert peer.form() == {"token": [RT.reveal()], "token_type_hint": ["refresh_token"]}
        assert peer.headers()["authorization"].startswith("Basic ")


def test_an_issuer_without_a_known_introspection_endpoint_says_nothing() -> None:
    with Peer(http(b'{"active":false}')) as peer:
        assert introspect(at_peer(peer)) is Introspection.REFUSED
        assert peer.connections == 0
        peer.by_path = {WELL_KNOWN: described(peer)}
        assert introspect(discoverable(peer)) is Introspection.REFUSED
        for metadata in (b"", http(b"<html>")):  # it may say more later
            peer.by_path = {WELL_KNOWN: metadata}
            assert introspect(discoverable(peer)) is Introspection.SILENT
        assert paths(peer) == [WELL_KNOWN] * 3


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


def test_a_probe_of_a_configured_endpoint_asks_that_and_no_trust_is_needed(tmp_path: Path) -> None:
    with Peer(http(b"", "302 Found", "Location: /\r\n")) as peer:
        assert TokenEndpoints().probe(at_peer(peer))
        peer.reply = http(b"<html>")
        assert not TokenEndpoints().probe(at_peer(peer))
        assert [request.split(" ", 2)[:2] for request in peer.requests] == [["GET", "/token"]] * 2
    assert not TokenEndpoints().probe(at_peer(peer))
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
