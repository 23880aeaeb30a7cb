"""Slots, intents and the spool around one exchange: docs/protocol.md section 4."""

import contextlib
import math
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh import effects
from csidriver.core.refresh.effects import Effect, RequestToken, SpoolEntry, SpoolWrite
from csidriver.core.status import Status
from csidriver.errors import DriverError, SpoolFailed, StoreConflict, StoreUnavailable
from tests.core.refresh.assertions import (
    LIFE,
    companion,
    count,
    document,
    fail_next,
    grant,
    is_commit,
    live,
    once,
)
from tests.core.refresh.world import ISSUER, START, Process, World, answer


class TestSlots:
    def test_a_slot_goes_to_the_send(self, running: Process) -> None:
        assert running.world.slots == []
        assert count(running.world, effects.ReleaseSendSlot) == 0

    def test_who_has_to_wait_comes_again_when_told(self, process: Process) -> None:
        process.world.pauses.append(7.5)
        assert process.visit().next_reconcile == START + 7.5
        assert process.world.server.presented == []
        process.work(7.5)
        assert live(process.world) == "alice-1"

    @pytest.mark.parametrize(
        ("left", "pause", "told"),
        [(0.0, 6.0, True), (-60.0, 6.0, True), (0.0, 4.0, False), (0.0, math.inf, False)],
    )
    def test_who_is_held_back_until_the_token_runs_short_learns_why(
        self,
        running: Process,
        left: float,
        pause: float,
        told: bool,  # noqa: FBT001 - a column of the table
    ) -> None:
        """The issuer's breaker or rate holds it back: nothing fails, and the token expires."""
        world = running.world
        writes = sum(is_commit(effect) for effect in world.done)
        world.now = grant(world).expires_at - left
        world.pauses.append(pause)
        running.visit()
        wanted = Status.ISSUER_UNAVAILABLE if told else Status.READY
        assert companion(world).status is wanted
        assert sum(is_commit(effect) for effect in world.done) == writes
        running.work(60.0)
        assert companion(world).status is Status.READY

    def test_who_is_held_back_in_good_time_says_nothing(self, running: Process) -> None:
        world = running.world
        world.now = grant(world).next_refresh or 0.0
        world.pauses.append(30.0)
        running.visit()
        assert companion(world).status is Status.READY

    def test_who_may_not_send_at_all_looks_again_soon(self, process: Process) -> None:
        process.world.pauses.append(math.inf)
        assert process.visit().next_reconcile == START + 1

    @pytest.mark.parametrize(
        ("kind", "error", "on"),
        [
            (effects.PatchSecret, StoreConflict("moved"), "grant-"),
            (effects.PatchSecret, StoreUnavailable("down"), "grant-"),
            (SpoolWrite, SpoolFailed("full"), ""),
        ],
        ids=["conflict", "outage", "spool"],
    )
    def test_an_attempt_that_sends_nothing_gives_its_slot_back(
        self, process: Process, kind: type[Effect[Any]], error: DriverError, on: str
    ) -> None:
        fail_next(process.world, kind, error, on=on)
        with contextlib.suppress(StoreUnavailable, SpoolFailed):
            process.visit()
        assert process.world.server.presented == []
        assert process.world.slots == []
        assert count(process.world, effects.ReleaseSendSlot) == 1

    def test_so_does_one_that_stood_still(self, process: Process) -> None:
        world = process.world

        def freeze() -> None:
            world.now += 30

        world.before = once(lambda e: isinstance(e, SpoolWrite), freeze)
        process.visit()
        assert (world.server.presented, world.slots) == ([], [])


class TestScope:
    SCOPED = replace(ISSUER, scope="storage.read")

    def scopes(self, world: World) -> list[str]:
        return [e.issuer.scope for e in world.done if isinstance(e, RequestToken)]

    def test_a_refused_scope_is_left_out_once_and_for_as_long_as_it_is_configured(
        self, running: Process
    ) -> None:
        world, running.issuer = running.world, self.SCOPED
        refused = answer(400, {"error": "invalid_scope"})
        world.server.script.append(refused)
        running.work(2 * LIFE)
        assert live(world) == "alice-3"
        assert self.scopes(world) == ["", "storage.read", "", ""]
        assert "scope is refused" in companion(world).message
        running.issuer = replace(self.SCOPED, scope="other")
        running.work(LIFE)
        assert self.scopes(world)[-1] == "other"
        assert "refused" not in companion(world).message

    def test_refused_without_a_scope_it_is_the_operators_turn(self, running: Process) -> None:
        world, running.issuer = running.world, self.SCOPED
        world.server.script += [answer(400, {"error": "invalid_scope"})] * 100
        running.work(LIFE - 100)
        assert self.scopes(world) == ["", "storage.read", ""]
        assert companion(world).status is Status.MISCONFIGURED

    def test_without_a_configured_scope_there_is_nothing_to_leave_out(
        self, running: Process
    ) -> None:
        world = running.world
        world.server.script += [answer(400, {"error": "invalid_scope"})] * 100
        running.work(LIFE - 100)
        assert len(world.server.presented) == 2
        assert companion(world).status is Status.MISCONFIGURED


class TestNoEndpoint:
    @pytest.mark.parametrize("status", [404, 405, 410])
    def test_it_is_looked_for_once_more_and_then_the_operators_turn(
        self, running: Process, status: int
    ) -> None:
        world = running.world
        world.server.script += [answer(status, {})] * 100
        running.work(LIFE - 100)
        (_, first, second) = (at for at, _ in world.server.presented)
        assert second - first == 10
        assert companion(world).status is Status.MISCONFIGURED

    def test_an_endpoint_that_moved_is_nobodys_trouble(self, running: Process) -> None:
        world = running.world
        world.server.script.append(answer(404, {}))
        running.work(LIFE)
        assert live(world) == "alice-2"
        assert [e.reason for e in world.done if isinstance(e, effects.EmitEvent)][1:] == ["Ready"]


class TestConfigurationChanges:
    @pytest.mark.parametrize(
        "refusal",
        [
            answer(400, {"error": "invalid_request"}),
            answer(400, {"error": "unauthorized_client"}),
            answer(403, {}),
            Failure(FailureReason.TLS),
            Failure(FailureReason.METADATA),
        ],
        ids=lambda failed: failed.reason.value,
    )
    def test_what_was_refused_is_tried_soon_after_the_issuer_was_configured_anew(
        self, running: Process, refusal: Failure
    ) -> None:
        world = running.world
        world.server.script += [refusal] * 3
        running.work(LIFE - 600)
        attempts = len(world.server.presented)
        world.server.script.clear()
        running.visit()
        assert len(world.server.presented) == attempts
        running.issuer = replace(ISSUER, client_auth="post")
        running.visit()
        assert len(world.server.presented) == attempts
        running.work(10)
        assert len(world.server.presented) == attempts + 1
        assert companion(world).status is Status.READY

    def test_only_once_for_each_configuration(self, running: Process) -> None:
        world = running.world
        world.server.script += [answer(400, {"error": "invalid_request"})] * 100
        running.work(LIFE - 600)
        running.issuer = replace(ISSUER, client_auth="post")
        for _ in range(5):
            running.visit()
            running.work(20)
        assert len(world.server.presented) == 3

    @pytest.mark.parametrize("error", ["invalid_grant", "login_required"])
    def test_a_refused_token_is_not_tried_again_for_that(
        self, running: Process, error: str
    ) -> None:
        world = running.world
        world.server.script += [answer(400, {"error": error})] * 100
        running.work(LIFE)
        attempts = len(world.server.presented)
        running.issuer = replace(ISSUER, client_auth="post")
        running.visit()
        running.work(LIFE)
        assert len(world.server.presented) == attempts


REPLIES: dict[str, Any] = {
    **{signal.value: Failure(signal) for signal in FailureReason},
    "throttled for no time": Failure(FailureReason.THROTTLED, 0.0),
    "throttled for ever": Failure(FailureReason.THROTTLED, 1e12),
    "expires at once": answer(200, {"access_token": "a", "expires_in": 1}),
    "expired": answer(200, {"access_token": "a", "expires_in": -1}),
    "never says": answer(200, {"access_token": "a"}),
    "no access token": answer(200, {"refresh_token": "alice-1"}),
    "expiry is text": answer(200, {"access_token": "a", "expires_in": "soon"}),
    "refresh token of a second": answer(
        200, {"access_token": "a", "expires_in": 3600, "refresh_expires_in": 1}
    ),
}


@pytest.mark.parametrize(
    ("reuse", "introspects"),
    [
        pytest.param(0.0, False, id="strict"),
        pytest.param(0.0, True, id="strict, introspection"),
        pytest.param(60.0, False, id="window"),
        pytest.param(math.inf, False, id="unlimited"),
    ],
)
@pytest.mark.parametrize("name", REPLIES)
def test_attempts_per_hour_are_bounded_for_every_reply(
    name: str, reuse: float, *, introspects: bool
) -> None:
    world = World()
    world.apply(document(world.server.login("alice")))
    world.server.introspects = introspects
    process = Process(world, issuer=replace(ISSUER, reuse=reuse))
    process.visit()
    world.server.script.extend([REPLIES[name]] * 10_000)
    # A lifetime of a second is renewed every second: one minute of that will do.
    period, most = (60.0, 62) if name == "expires at once" else (3600.0, 370)
    for _ in range(2):
        before = len(world.server.presented) + len(world.server.asked)
        for _ in range(6):
            process.work(period / 6)
        assert len(world.server.presented) + len(world.server.asked) - before <= most


def test_a_backoff_ends_with_a_success(running: Process) -> None:
    world = running.world
    world.server.script += [Failure(FailureReason.UNREACHABLE)] * 6
    running.work(LIFE + 300)
    assert live(world) == "alice-2"
    assert (grant(world).failures, grant(world).failure_reason) == (0, None)


def test_an_entry_names_what_was_sent() -> None:
    reply = answer(200, {"refresh_token": "x"})
    assert isinstance(reply, Success)
    assert "x" not in repr(SpoolEntry("n", START, reply.reply)).replace("expires", "")
