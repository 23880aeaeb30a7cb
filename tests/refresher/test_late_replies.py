import threading

import pytest

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh.effects import SpoolEntry
from csidriver.refresher.late_replies import MAX_OPEN, LateReplies
from tests.waiting import TIMEOUT

BRIEF = 0.05  # seconds until a worker is told that there is no answer
TOKENS = Success(TokenDocument({}))
NO_ANSWER, UNREACHABLE = Failure(FailureReason.NO_ANSWER), Failure(FailureReason.UNREACHABLE)


class SlowServer:
    """Answers when the test says so; NO_ANSWER stands for the end of the late timeout."""

    def __init__(self, response: TokenResponse = TOKENS, *, connects: bool = True) -> None:
        self.answers = threading.Event()
        self.late_timeout = 0.0
        self.late: list[TokenResponse] = []
        self.late_came = threading.Event()
        self._response, self._connects = response, connects

    def send(self, late_timeout: float, sent: threading.Event) -> TokenResponse:
        self.late_timeout = late_timeout
        if self._connects:
            sent.set()
        return self._response if self.answers.wait(late_timeout) else NO_ANSWER

    def on_late(self, response: TokenResponse) -> None:
        self.late.append(response)
        self.late_came.set()

    def asked_by(
        self, replies: LateReplies, issuer: str = "demo", timeout: float = BRIEF
    ) -> TokenResponse:
        return replies.request(issuer, self.send, timeout, TIMEOUT, self.on_late)


# What a worker gets while a late reply is awaited.
AWAITED = Failure(FailureReason.NO_ANSWER, awaited=TIMEOUT - BRIEF)


@pytest.fixture
def replies() -> LateReplies:
    return LateReplies()


def test_a_reply_in_time_is_the_result_and_comes_once(replies: LateReplies) -> None:
    server = SlowServer()
    server.answers.set()
    assert server.asked_by(replies, timeout=TIMEOUT) is TOKENS
    replies.join(TIMEOUT)
    assert server.late == []


def test_what_was_not_sent_is_not_said_to_be_unanswered(replies: LateReplies) -> None:
    """A name that is resolved for long, or a connection that does not come about."""
    server = SlowServer(UNREACHABLE, connects=False)
    threading.Timer(3 * BRIEF, server.answers.set).start()
    assert server.asked_by(replies) == UNREACHABLE
    replies.join(TIMEOUT)
    assert server.late == []


def test_so_many_requests_to_one_issuer_are_listened_to_and_no_more(replies: LateReplies) -> None:
    servers = [SlowServer() for _ in range(MAX_OPEN + 1)]
    *listened, last = servers
    for server in listened:
        assert server.asked_by(replies) == AWAITED
    assert last.asked_by(replies) == NO_ANSWER
    assert {server.late_timeout for server in listened} == {TIMEOUT}
    assert (last.late_timeout, last.late) == (BRIEF, [])
    other = SlowServer()
    other.asked_by(replies, "other")
    assert other.late_timeout == TIMEOUT
    for server in (other, *servers):
        server.answers.set()
    replies.join(TIMEOUT)
    assert all(server.late == [TOKENS] for server in listened)
    again = SlowServer()
    again.asked_by(replies)
    assert again.late_timeout == TIMEOUT, "those that have ended do not count"
    again.answers.set()


@pytest.mark.parametrize("answers", [True, False])
def test_join_waits_for_late_replies_and_no_longer_than_asked(
    replies: LateReplies, *, answers: bool
) -> None:
    server = SlowServer()
    server.asked_by(replies)
    if answers:
        threading.Timer(BRIEF, server.answers.set).start()
    replies.join(TIMEOUT if answers else BRIEF)
    assert server.late == ([TOKENS] if answers else [])
    server.answers.set()


def test_a_late_reply_is_kept_until_it_is_taken(replies: LateReplies) -> None:
    ref, entry = SourceRef("ns", "hello"), SpoolEntry("nonce", 1.0, None, "hash")
    replies.keep(ref, entry)
    assert replies.ids() == {ref.id}
    assert (replies.take(ref), replies.take(ref)) == (entry, None)
    assert replies.ids() == set()
