import gzip
import threading
import tracemalloc
import zlib
from pathlib import Path

import pytest

from csidriver.adapters.oauth.http_client import HttpRequest
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.sensitive import Sensitive
from tests.adapters.oauth.peer import (
    PUBLIC,
    RT,
    TOKENS,
    Peer,
    at_peer,
    free_port,
    http,
    refresh,
    signal,
)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (http(b"", "503 Later", "Retry-After: 7\r\n"), FailureReason.THROTTLED),
        (http(b"", "302 Found", "Location: http://[\r\n"), FailureReason.REDIRECT),
        (http(b"\xff\xfe\x00"), FailureReason.BAD_REPLY),
        (http()[:-10], FailureReason.NO_ANSWER),
        (b"", FailureReason.NO_ANSWER),
    ],
    ids=["throttled", "redirect", "no text", "cut", "nothing"],
)
def test_every_fault_has_its_signal(reply: bytes, expected: FailureReason) -> None:
    with Peer(reply) as peer:
        outcome = refresh(at_peer(peer))
        assert len(peer.requests) == 1
    assert isinstance(outcome, Failure)
    assert outcome.reason is expected
    assert outcome.pause == (7.0 if expected is FailureReason.THROTTLED else None)


@pytest.mark.parametrize(
    "host", [f"127.0.0.1:{free_port()}", "nowhere.invalid", f"{'a' * 70}.x"], ids=[0, 1, 2]
)
def test_names_that_lead_nowhere(host: str) -> None:
    issuer = Issuer("x", token_endpoint=f"http://{host}/token", internal=True)
    assert signal(refresh(issuer)) is FailureReason.UNREACHABLE


def test_neither_a_scope_that_is_no_text_nor_anything_without_time_left_is_sent() -> None:
    with Peer(http()) as peer:
        threads = set(threading.enumerate())
        assert signal(refresh(at_peer(peer, scope="\ud800"))) is FailureReason.UNREACHABLE
        assert set(threading.enumerate()) <= threads, "nothing waits for a deadline"
        assert signal(refresh(at_peer(peer), timeout=0.0)) is FailureReason.UNREACHABLE
    assert peer.connections == 0


def test_a_redirect_is_not_followed_and_its_body_not_read_without_bound() -> None:
    with Peer(http()) as target:
        location = f"Location: http://{target.address}/token\r\n"
        with Peer(http(b"x" * 3_000_000, "307 Temporary Redirect", location)) as peer:
            outcome = refresh(at_peer(peer))
        assert signal(outcome) is FailureReason.BAD_REPLY
        with Peer(http(b"", "307 Temporary Redirect", location)) as peer:
            assert signal(refresh(at_peer(peer))) is FailureReason.REDIRECT
        assert len(peer.requests) == 1
        assert target.connections == 0


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("GZip", gzip.compress(TOKENS[:9]) + gzip.compress(TOKENS[9:])),
        ("deflate", zlib.compress(TOKENS)),
        ("gzip, gzip", gzip.compress(gzip.compress(TOKENS))),
    ],
    # Compressed bytes contain the time, and all workers must collect the same names.
    ids=["GZip in two members", "deflate", "gzip twice"],
)
def test_a_compressed_reply_is_decoded_although_nobody_asked_for_it(
    encoding: str, body: bytes
) -> None:
    reply = http(body, headers=f"Content-Encoding: {encoding}\r\n")
    with Peer(reply, slowly=len(reply) - 20) as peer:
        outcome = refresh(at_peer(peer))
        assert peer.headers()["accept-encoding"] == "identity"
    assert isinstance(outcome, Success)
    assert outcome.reply.refresh_token == Sensitive("rt2")


def test_a_compressed_reply_that_is_cut_off_or_broken_proves_nothing() -> None:
    good = gzip.compress(b'{"error":"invalid_grant"}')
    for reply in (
        http(good, "400 Bad Request", "Content-Encoding: gzip\r\n")[:-9],
        http(b"\0" + good, "400 Bad Request", "Content-Encoding: gzip\r\n"),
    ):
        with Peer(reply) as peer:
            assert signal(refresh(at_peer(peer))) is FailureReason.NO_ANSWER


def test_a_reply_that_decodes_to_too_much_is_given_up_early() -> None:
    bomb = gzip.compress(gzip.compress(b" " * 50_000_000))
    with Peer(http(bomb, headers="Content-Encoding: gzip, gzip\r\n")) as peer:
        tracemalloc.start()
        try:
            assert signal(refresh(at_peer(peer))) is FailureReason.BAD_REPLY
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()


def test_netrc_and_proxies_of_the_environment_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\n", encoding="ascii")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Peer(http()) as peer, Peer(http()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        assert isinstance(refresh(at_peer(peer), client=PUBLIC), Success)
        assert "authorization" not in peer.headers()
        assert proxy.connections == 0


def test_a_configured_proxy_is_used() -> None:
    with Peer(http()) as proxy:
        url = "http://as.invalid/token"
        issuer = Issuer("x", token_endpoint=url, internal=True, proxy=f"http://{proxy.address}")
        assert isinstance(refresh(issuer), Success)
        assert proxy.requests[0].startswith(f"POST {url} HTTP/1.1\r\n")


def test_a_proxy_that_refuses_to_connect_is_never_sent_the_token() -> None:
    with Peer(http(b"", "403 Forbidden")) as proxy:
        issuer = Issuer("x", token_endpoint="https://as.invalid/t", proxy=f"http://{proxy.address}")
        assert signal(refresh(issuer)) is FailureReason.UNREACHABLE
        assert RT.reveal() not in "".join(proxy.requests)


def test_what_is_to_be_sent_is_not_shown() -> None:
    request = HttpRequest(
        "POST", "u", [("refresh_token", RT.reveal())], {"Authorization": RT.reveal()}
    )
    assert RT.reveal() not in repr(request)
