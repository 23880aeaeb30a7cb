"""What a start, a refresh and a change cost, and what of it is noticed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.status import Status
from tests.core.refresh.assertions import (
    GRANT,
    LIFE,
    companion,
    cost,
    die_with_a_reply,
    document,
    grant,
    live,
    mirrored,
    note,
    presented_twice,
    restart,
)
from tests.core.refresh.world import ISSUER, REF, Crashed, Process, World


class TestCost:
    def test_a_refresh_takes_four_writes_and_no_read(self, running: Process) -> None:
        running.world.now = running.known.next_reconcile or 0
        assert cost(running.world, running.visit) == (0, 4)
        assert live(running.world) == "alice-2"

    def test_a_server_that_never_rotates_saves_the_intent(self, running: Process) -> None:
        running.issuer = replace(ISSUER, reuse=float("inf"))
        running.world.now = running.known.next_reconcile or 0
        assert cost(running.world, running.visit) == (0, 3)

    def test_a_day_of_refreshes_reads_nothing(self, running: Process) -> None:
        reads, writes = cost(running.world, lambda: running.work(86400))
        assert (reads, writes) == (0, 4 * (len(running.world.server.presented) - 1))

    @pytest.mark.parametrize("refreshes", [0, 1, 3])
    def test_a_start_with_a_token_in_order_costs_nothing(
        self, running: Process, refreshes: int
    ) -> None:
        running.work(refreshes * LIFE)
        fresh = restart(running)
        assert cost(running.world, fresh.visit) == (0, 0)
        assert fresh.known.next_reconcile == running.known.next_reconcile
        fresh.world.now = fresh.known.next_reconcile or 0
        before = live(fresh.world)
        assert cost(running.world, fresh.visit) == (0, 4)
        assert live(fresh.world) == mirrored(fresh.world) != before
        fresh.hear()
        assert cost(running.world, fresh.visit) == (0, 0)

    @pytest.mark.parametrize("what", TokenObject)
    def test_ones_own_writes_are_no_news(self, running: Process, what: TokenObject) -> None:
        known = running.known
        for version in [v for w, v in known.own_versions if w is what]:
            known = known.with_change(SecretChange(REF, what, version))
        assert not known.source_stale
        assert not known.grant_stale
        assert all(w is not what for w, _ in known.own_versions)

    def test_only_so_many_of_them_are_remembered(self, running: Process) -> None:
        running.work(86400)
        assert len(running.known.own_versions) == 16


@pytest.mark.parametrize("edit", ["", "re-apply"])
@pytest.mark.parametrize("first", [True, False], ids=["adoption", "refresh"])
@pytest.mark.parametrize("count", range(1, 40))
def test_a_start_from_lists_after_any_crash_ends_in_order(
    count: int, edit: str, *, first: bool
) -> None:
    world = World()
    world.apply(document(world.server.login("alice")))
    process = Process(world)
    if not first:
        process.visit()
        world.now += LIFE - 600
    try:
        process.visit(crash_after=count)
    except Crashed:
        lost = isinstance(world.done[-1], effects.RequestToken)
    else:
        return
    if edit == "re-apply":
        world.apply(document("alice-0"))
    survivor = restart(process)
    survivor.visit()
    survivor.work(3 * LIFE)
    assert companion(world).status is (Status.LOST_ROTATION if lost else Status.READY)
    assert note(world, annotations.STATUS) == companion(world).status.value
    assert companion(world).generation == grant(world).generation
    if not lost:
        assert presented_twice(world) == []
        assert live(world) == mirrored(world) == world.server.families["alice"][-1]
        assert note(world, annotations.WARNING) == ""


def test_nothing_of_a_restored_token_shows_a_secret(running: Process) -> None:
    shown = repr(restart(running).known)
    assert "alice-1" not in shown
    assert "s3cret" not in shown


class TestNamespaces:
    def test_nothing_is_sent_for_one_that_is_not_enrolled_and_nothing_is_deleted(
        self, running: Process
    ) -> None:
        world = running.world
        fresh = restart(running)
        fresh.namespaces = ("elsewhere",)
        assert cost(world, lambda: fresh.work(10 * LIFE)) == (0, 0)
        assert cost(world, lambda: fresh.visit(event=True)) == (0, 0)
        assert live(world) == "alice-1"
        again = restart(fresh)
        again.namespaces = ("elsewhere", REF.namespace)
        world.now += 10 * LIFE
        again.visit()
        assert live(world) == mirrored(world) == "alice-2"
        assert companion(world).status is Status.READY

    def test_an_exchange_that_was_begun_is_settled_all_the_same(self, running: Process) -> None:
        world = running.world

        die_with_a_reply(running)
        assert live(world) == "alice-1"
        fresh = restart(running)
        fresh.namespaces = ("elsewhere",)
        fresh.visit()
        assert live(world) == "alice-2"
        fresh.work(10 * LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1"]


class TestBackup:
    """The driver namespace comes back from a backup; what nodes and users see does not."""

    @pytest.mark.parametrize("cycles", [1, 3])
    def test_an_older_grant_gives_way_to_the_mirror(self, running: Process, cycles: int) -> None:
        world = running.world
        kept = world.secrets[GRANT]
        running.work(cycles * LIFE)
        latest = live(world)
        world._store(kept)
        fresh = restart(running)
        fresh.visit()
        assert presented_twice(world) == []
        assert live(world) == mirrored(world) != latest
        assert companion(world).generation == grant(world).generation
        assert companion(world).status is Status.READY


class TestClock:
    """A machine's clock was ahead while tokens were refreshed, and is set right."""

    @pytest.fixture
    def ahead(self, world: World) -> Process:
        world.offsets["pod-1"] = 7 * 86400.0
        process = Process(world)
        process.visit()
        world.offsets["pod-1"] = 0.0
        return process

    @pytest.mark.parametrize("again", [restart, lambda process: process])
    def test_a_token_from_the_future_is_refreshed_soon(
        self, ahead: Process, again: Callable[[Process], Process]
    ) -> None:
        world, process = ahead.world, again(ahead)
        process.visit()
        process.work(10.0)
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert companion(world).token.expires_at <= world.now + LIFE  # type: ignore[union-attr]

    def test_failures_keep_their_pace(self, ahead: Process) -> None:
        ahead.world.server.script.extend([Failure(FailureReason.FORBIDDEN)] * 3)
        ahead.visit()
        ahead.work(1000.0)
        assert len(ahead.world.server.presented) <= 1 + 4

    def test_the_difference_between_two_machines_is_no_reason(self, ahead: Process) -> None:
        ahead.world.offsets["pod-1"] = 7 * 86400.0 - 30.0
        ahead.visit()
        ahead.work(600.0)
        assert ahead.world.server.tokens() == ["alice-0"]
