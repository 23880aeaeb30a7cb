import socket
import threading
import time
from typing import Any

import pytest

from csidriver.adapters.oauth.connection import AbortableConnection
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.sensitive import Sensitive
from tests.adapters.oauth.peer import (
    BRIEF,
    FOR_EVER,
    LATE,
    RT,
    TOKENS,
    Peer,
    at_peer,
    discoverable,
    http,
    listen,
    refresh,
    signal,
)


def test_a_dripping_answer_ends_at_the_deadline_and_proves_nothing() -> None:
    reply = http(b" " * 5000, "400 Bad Request")
    for slowly in (0, 20, len(reply) - 5000):
        with Peer(reply, slowly=slowly) as peer:
            began = time.monotonic()
            assert signal(refresh(at_peer(peer), timeout=BRIEF)) is FailureReason.NO_ANSWER
            assert time.monotonic() - began < LATE


def test_tokens_that_arrived_before_the_deadline_are_kept_whatever_drips_behind_them() -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    with Peer(head + TOKENS + b" " * 5000, slowly=len(head + TOKENS)) as peer:
        outcome = refresh(at_peer(peer), timeout=BRIEF)
    assert isinstance(outcome, Success)
    assert outcome.reply.refresh_token == Sensitive("rt2")


@pytest.mark.parametrize(
    "greeting",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    ids=["hangs up", "speaks HTTP"],
)
def test_what_fails_before_tls_stands_was_not_sent(greeting: bytes) -> None:
    with Peer(greeting, greets=True) as peer:
        outcome = refresh(at_peer(peer, "https"))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.reason.consumption) == (
        FailureReason.UNREACHABLE,
        Consumption.NOT_SENT,
    )


def test_a_reply_is_waited_for_beyond_the_time_to_send() -> None:
    with Peer(http()) as peer:
        peer.before_reply = lambda: threading.Event().wait(2 * BRIEF)
        response, sent = listen(at_peer(peer))
    assert isinstance(response, Success)
    assert sent


@pytest.mark.parametrize("what", ["handshake", "metadata"])
def test_what_comes_before_the_token_has_no_longer_than_the_time_to_send(what: str) -> None:
    tls = what == "handshake"
    drips = b"\x16\x03\x03\x40\x00" + bytes(2000) if tls else http(b" " * 5000)
    with Peer(drips, greets=tls, slowly=5) as peer:
        began = time.monotonic()
        response, sent = listen(at_peer(peer, "https") if tls else discoverable(peer))
        assert time.monotonic() - began < LATE
    assert signal(response) is FailureReason.UNREACHABLE
    assert not sent


def test_a_name_that_is_resolved_too_late_is_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def resolve_late(*args: Any, **options: Any) -> Any:
        threading.Event().wait(2 * BRIEF)
        return resolve(*args, **options)

    with Peer(http()) as peer:
        monkeypatch.setattr(socket, "getaddrinfo", resolve_late)
        response, sent = listen(at_peer(peer))
    assert signal(response) is FailureReason.UNREACHABLE
    assert not sent
    assert RT.reveal() not in "".join(peer.requests)


def test_the_time_to_connect_and_that_of_a_request_that_has_ended_end_no_other_request() -> None:
    connection, now = AbortableConnection(), time.monotonic()
    with connection.carry(now + BRIEF, now + BRIEF):
        connection.mark_established()
    with connection.carry(now + BRIEF, now + FOR_EVER):
        threading.Event().wait(2 * BRIEF)
        assert not connection.is_aborted


def test_a_nearer_deadline_is_met_beside_a_farther_one() -> None:
    far, near, now = AbortableConnection(), AbortableConnection(), time.monotonic()
    with far.carry(now + FOR_EVER, now + FOR_EVER), near.carry(now + BRIEF, now + BRIEF):
        while not near.is_aborted:
            assert time.monotonic() < now + LATE
            threading.Event().wait(0.01)
        assert not far.is_aborted
