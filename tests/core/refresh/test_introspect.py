"""Asking before presenting what may be spent (RFC 7662): docs/protocol.md section 4."""

from dataclasses import replace

import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.messages import UNCERTAIN_TWICE_MESSAGE
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.status import Status
from tests.core.refresh.assertions import LIFE, companion, document, grant, live, reasons
from tests.core.refresh.world import (
    ISSUER,
    LOST_AFTER,
    LOST_BEFORE,
    START,
    Process,
    World,
    answer,
)

LATE = START + LIFE - lead_time(LIFE) / 4


@pytest.fixture
def asked(running: Process) -> Process:
    """A server that can be asked."""
    running.world.server.introspects = True
    return running


def refused() -> Failure:
    failed = answer(400, {"error": "invalid_grant"})
    assert isinstance(failed, Failure)
    return failed


class TestUncertain:
    def test_a_token_that_is_still_good_is_presented_once_more_and_soon(
        self, asked: Process
    ) -> None:
        world = asked.world
        world.server.script.append(LOST_BEFORE)
        asked.work(LIFE)
        (_, first, second) = (at for at, _ in world.server.presented[:3])
        assert second - first == 10
        assert world.server.asked == [(second, "alice-1")]
        assert live(world) == "alice-2"
        assert companion(world).status is Status.READY

    def test_a_token_that_was_spent_is_not_presented_again(self, asked: Process) -> None:
        world = asked.world
        world.server.script.append(LOST_AFTER)
        asked.work(LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert companion(world).status is Status.LOST_ROTATION
        assert reasons(world)[-2:] == ["Uncertain", "LostRotation"]
        assert grant(world).intent is None
        assert world.slots == []
        asked.work(10 * LIFE)
        assert len(world.server.asked) == 1
        world.apply(document(world.server.login("bob")))
        asked.visit(event=True)
        assert companion(world).status is Status.READY

    def test_a_server_that_does_not_say_gets_the_one_late_presentation(
        self, running: Process
    ) -> None:
        world = running.world
        world.server.script.append(LOST_BEFORE)
        running.work(LIFE)
        assert [at for at, _ in world.server.presented][2] == pytest.approx(LATE)
        assert len(world.server.asked) == 2
        assert live(world) == "alice-2"

    def test_nobody_is_asked_where_no_endpoint_is_configured(self, running: Process) -> None:
        world = running.world
        running.issuer = replace(ISSUER, token_endpoint="https://auth.example/token")
        world.server.script.append(LOST_BEFORE)
        running.work(LIFE)
        assert world.server.asked == []
        assert live(world) == "alice-2"

    def test_unknown_twice_and_no_word_waits_for_a_human(self, running: Process) -> None:
        world = running.world
        world.server.script += [LOST_BEFORE, LOST_BEFORE]
        running.work(2 * LIFE)
        assert len(world.server.presented) == 3
        told = companion(world)
        assert (told.status, told.message) == (Status.UNCERTAIN, UNCERTAIN_TWICE_MESSAGE)
        assert running.known.next_reconcile is None

    def test_every_further_presentation_needs_a_word_of_its_own(self, asked: Process) -> None:
        world = asked.world
        world.server.script += [LOST_BEFORE, LOST_BEFORE, LOST_BEFORE]
        asked.work(LIFE - 60)
        assert len(world.server.asked) == 3
        assert world.server.tokens() == ["alice-0", *["alice-1"] * 4]
        assert live(world) == "alice-2"

    def test_within_its_window_a_server_is_not_asked(self, asked: Process) -> None:
        """It serves the spent token, which would be called inactive."""
        world, asked.issuer = asked.world, replace(ISSUER, reuse=60.0)
        world.server.window = 60
        world.server.script.append(LOST_AFTER)
        asked.work(LIFE - 60)
        assert world.server.asked == []
        assert live(world) == "alice-2"

    def test_a_server_that_never_rotates_is_not_asked(self, asked: Process) -> None:
        world, asked.issuer = asked.world, replace(ISSUER, reuse=float("inf"))
        world.server.script += [LOST_BEFORE, LOST_BEFORE]
        asked.work(LIFE)
        assert world.server.asked == []

    def test_a_lost_reply_of_a_dead_peer_is_found_out(self, world: World) -> None:
        world.server.introspects = True
        world.server.script.append(LOST_AFTER)
        Process(world).visit()
        peer = Process(world, holder="pod-2")
        peer.visit()
        peer.work(600)
        assert companion(world).status is Status.LOST_ROTATION
        assert world.server.tokens() == ["alice-0"]


class TestInvalidGrant:
    def test_an_inactive_token_is_not_presented_again(self, asked: Process) -> None:
        world = asked.world
        world.server.families.clear()
        asked.work(LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert companion(world).status is Status.NEEDS_REAUTH
        (at, _), (asked_at, _) = world.server.presented[1], world.server.asked[0]
        assert asked_at - at == pytest.approx(300)
        asked.work(10 * 86400)
        assert len(world.server.asked) == 1
        assert world.slots == []

    def test_an_outage_in_between_does_not_spare_the_question(self, asked: Process) -> None:
        world = asked.world
        world.server.script += [refused(), Failure(FailureReason.UNREACHABLE)]
        asked.work(LIFE)
        assert len(world.server.asked) == 2
        assert live(world) == "alice-2"

    def test_an_active_one_is(self, asked: Process) -> None:
        world = asked.world
        world.server.script.append(refused())
        asked.work(LIFE)
        assert live(world) == "alice-2"
        assert companion(world).status is Status.READY

    def test_a_server_that_does_not_say_gets_the_second_presentation(
        self, running: Process
    ) -> None:
        world = running.world
        world.server.script.append(refused())
        running.work(LIFE)
        assert len(world.server.asked) == 1
        assert live(world) == "alice-2"

    def test_a_server_that_says_active_and_refuses_is_believed_at_the_second_refusal(
        self, asked: Process
    ) -> None:
        world = asked.world
        world.server.script += [refused(), refused()]
        asked.work(10 * LIFE)
        assert len(world.server.presented) == 3
        assert companion(world).status is Status.NEEDS_REAUTH


def test_an_outage_is_no_reason_to_ask(asked: Process) -> None:
    asked.world.server.script += [Failure(FailureReason.UNREACHABLE)] * 3
    asked.work(LIFE)
    assert asked.world.server.asked == []


def test_asking_is_bounded_in_time(asked: Process) -> None:
    asked.world.server.script.append(LOST_BEFORE)
    asked.work(LIFE)
    (ask,) = (e for e in asked.world.done if isinstance(e, effects.Introspect))
    assert ask.timeout == 20
    assert "alice" not in repr(ask)
