"""Heads of responses that http.client alone would not read."""

import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Success
from csidriver.core.sensitive import Sensitive
from tests.adapters.oauth.peer import BRIEF, TOKENS, Peer, at_peer, http, refresh, signal

CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(TOKENS), TOKENS)
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    "interim",
    [
        pytest.param(EARLY_HINTS + b"HTTP/1.1 100 Continue\r\n\r\n", id="several"),
        pytest.param(b"HTTP/1.1 199 New\r\nContent-Length: 5\r\n\r\n", id="with a length"),
    ],
)
def test_interim_responses_are_skipped(interim: bytes) -> None:
    with Peer(interim + http()) as peer:
        outcome = refresh(at_peer(peer))
    assert isinstance(outcome, Success)
    assert outcome.reply.refresh_token == Sensitive("rt2")


def test_interim_responses_without_end_prove_nothing() -> None:
    with Peer(EARLY_HINTS * 1000, slowly=100) as peer:
        assert signal(refresh(at_peer(peer), timeout=BRIEF)) is FailureReason.NO_ANSWER
    with Peer(EARLY_HINTS) as peer:
        assert signal(refresh(at_peer(peer))) is FailureReason.NO_ANSWER


def test_a_change_of_protocol_is_not_waited_for() -> None:
    with Peer(http(b"", "101 Switching Protocols", "Upgrade: x\r\n")) as peer:
        assert signal(refresh(at_peer(peer))) is FailureReason.SERVER_ERROR


@pytest.mark.parametrize(
    "line",
    [
        b"X-Broken header",
        b"X-Broken\t: a",
        b": no name",
        b"\x00",
        b"HTTP/1.1 200 OK",
        b"X-Fine: a\r\n folded",
    ],
)
def test_a_broken_line_does_not_hide_those_behind_it(line: bytes) -> None:
    final = b"HTTP/1.1 200 OK\r\n" + line + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED
    interim = EARLY_HINTS[:-2] + line + b"\r\n\r\n"
    for reply in (final, interim + final):
        with Peer(reply) as peer:
            outcome = refresh(at_peer(peer))
        assert isinstance(outcome, Success)
        assert outcome.reply.refresh_token == Sensitive("rt2")


@pytest.mark.parametrize("name", [b"Transfer-Encoding ", b"transfer-encoding\t "])
def test_a_field_with_a_blank_before_its_colon_counts(name: bytes) -> None:
    with Peer(b"HTTP/1.1 200 OK\r\n" + name + b": chunked\r\n\r\n" + CHUNKED) as peer:
        assert isinstance(refresh(at_peer(peer)), Success)


@pytest.mark.parametrize("before", [b"\r\n", b"garbage\r\n"])
def test_what_does_not_begin_with_a_status_line_is_no_response(before: bytes) -> None:
    with Peer(before + http()) as peer:
        assert signal(refresh(at_peer(peer))) is FailureReason.NO_ANSWER
