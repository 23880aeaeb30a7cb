import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Success
from csidriver.core.sensitive import Sensitive
from tests.adapters.oauth.peer import BRIEF, TOKENS, Peer, at_peer, http, refresh, signal

CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(TOKENS), TOKENS)
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


def test_interim_responses_are_skipped() -> None:
    odd = b"HTTP/1.1 199 New\r\nContent-Length: 5\r\n\r\n"
    with Peer(EARLY_HINTS + odd + http()) as peer:
        outcome = refresh(at_peer(peer))
    assert isinstance(outcome, Success)
    assert outcome.reply.refresh_token == Sensitive("rt2")


def test_interim_responses_without_end_prove_nothing() -> None:
    with Peer(EARLY_HINTS * 1000, slowly=100) as peer:
        assert signal(refresh(at_peer(peer), timeout=BRIEF)) is FailureReason.NO_ANSWER
    with Peer(EARLY_HINTS) as peer:
        assert signal(refresh(at_peer(peer))) is FailureReason.NO_ANSWER


@pytest.mark.parametrize(
    "line",
    [b"X-Broken header", b": no name", b"\x00", b"HTTP/1.1 200 OK", b"X-Fine: a\r\n folded"],
)
def test_a_broken_line_does_not_hide_those_behind_it(line: bytes) -> None:
    final = b"HTTP/1.1 200 OK\r\n" + line + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED
    interim = EARLY_HINTS[:-2] + line + b"\r\n\r\n"
    for reply in (final, interim + final):
        with Peer(reply) as peer:
            outcome = refresh(at_peer(peer))
        assert isinstance(outcome, Success)
        assert outcome.reply.refresh_token == Sensitive("rt2")


def test_a_field_with_a_blank_before_its_colon_counts() -> None:
    with Peer(b"HTTP/1.1 200 OK\r\nTransfer-encoding\t : chunked\r\n\r\n" + CHUNKED) as peer:
        assert isinstance(refresh(at_peer(peer)), Success)


def test_neither_garbage_nor_a_change_of_protocol_is_an_answer() -> None:
    for reply, reason in (
        (b"garbage\r\n" + http(), FailureReason.NO_ANSWER),
        (http(b"", "101 Switching Protocols", "Upgrade: x\r\n"), FailureReason.SERVER_ERROR),
    ):
        with Peer(reply) as peer:
            assert signal(refresh(at_peer(peer))) is reason
