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
from tests.core.refresh.cluster_checks import (
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
from tests.core.refresh.virtual_cluster import ISSUER, REF, Crashed, Process, VirtualCluster


class TestCost:
    def test_a_refresh_takes_four_writes_and_no_read(self, running: Process) -> None:
        running.cluster.now = running.state.next_reconcile or 0
        assert cost(running.cluster, running.reconcile) == (0, 4)
        assert live(running.cluster) == "alice-2"

    def test_a_server_that_never_rotates_saves_the_intent(self, running: Process) -> None:
        running.issuer = replace(ISSUER, reuse=float("inf"))
        running.cluster.now = running.state.next_reconcile or 0
        assert cost(running.cluster, running.reconcile) == (0, 3)

    def test_a_day_of_refreshes_reads_nothing(self, running: Process) -> None:
        reads, writes = cost(running.cluster, lambda: running.run_for(86400))
        assert (reads, writes) == (0, 4 * (len(running.cluster.server.presented) - 1))

    @pytest.mark.parametrize("refreshes", [0, 1, 3])
    def test_a_start_with_a_token_in_order_costs_nothing(
        self, running: Process, refreshes: int
    ) -> None:
        running.run_for(refreshes * LIFE)
        fresh = restart(running)
        assert cost(running.cluster, fresh.reconcile) == (0, 0)
        assert fresh.state.next_reconcile == running.state.next_reconcile
        fresh.cluster.now = fresh.state.next_reconcile or 0
        before = live(fresh.cluster)
        assert cost(running.cluster, fresh.reconcile) == (0, 4)
        assert live(fresh.cluster) == mirrored(fresh.cluster) != before
        fresh.observe()
        assert cost(running.cluster, fresh.reconcile) == (0, 0)

    @pytest.mark.parametrize("what", TokenObject)
    def test_ones_own_writes_are_no_news(self, running: Process, what: TokenObject) -> None:
        known = running.state
        for version in [v for w, v in known.own_versions if w is what]:
            known = known.with_change(SecretChange(REF, what, version))
        assert not known.source_stale
        assert not known.grant_stale
        assert all(w is not what for w, _ in known.own_versions)

    def test_only_so_many_of_them_are_remembered(self, running: Process) -> None:
        running.run_for(86400)
        assert len(running.state.own_versions) == 16


@pytest.mark.parametrize("edit", ["", "re-apply"])
@pytest.mark.parametrize("first", [True, False], ids=["adoption", "refresh"])
@pytest.mark.parametrize("count", range(1, 40))
def test_a_start_from_lists_after_any_crash_ends_in_order(
    count: int, edit: str, *, first: bool
) -> None:
    cluster = VirtualCluster()
    cluster.apply(document(cluster.server.login("alice")))
    process = Process(cluster)
    if not first:
        process.reconcile()
        cluster.now += LIFE - 600
    try:
        process.reconcile(crash_after=count)
    except Crashed:
        lost = isinstance(cluster.done[-1], effects.RequestToken)
    else:
        return
    if edit == "re-apply":
        cluster.apply(document("alice-0"))
    survivor = restart(process)
    survivor.reconcile()
    survivor.run_for(3 * LIFE)
    assert companion(cluster).status is (Status.LOST_ROTATION if lost else Status.READY)
    assert note(cluster, annotations.STATUS) == companion(cluster).status.value
    assert companion(cluster).generation == grant(cluster).generation
    if not lost:
        assert presented_twice(cluster) == []
        assert live(cluster) == mirrored(cluster) == cluster.server.families["alice"][-1]
        assert note(cluster, annotations.WARNING) == ""


def test_nothing_of_a_restored_token_shows_a_secret(running: Process) -> None:
    shown = repr(restart(running).state)
    assert "alice-1" not in shown
    assert "s3cret" not in shown


class TestNamespaces:
    def test_nothing_is_sent_for_one_that_is_not_enrolled_and_nothing_is_deleted(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        fresh = restart(running)
        fresh.namespaces = ("elsewhere",)
        assert cost(cluster, lambda: fresh.run_for(10 * LIFE)) == (0, 0)
        assert cost(cluster, lambda: fresh.reconcile(event=True)) == (0, 0)
        assert live(cluster) == "alice-1"
        again = restart(fresh)
        again.namespaces = ("elsewhere", REF.namespace)
        cluster.now += 10 * LIFE
        again.reconcile()
        assert live(cluster) == mirrored(cluster) == "alice-2"
        assert companion(cluster).status is Status.READY

    def test_an_exchange_that_was_begun_is_settled_all_the_same(self, running: Process) -> None:
        cluster = running.cluster

        die_with_a_reply(running)
        assert live(cluster) == "alice-1"
        fresh = restart(running)
        fresh.namespaces = ("elsewhere",)
        fresh.reconcile()
        assert live(cluster) == "alice-2"
        fresh.run_for(10 * LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]


class TestBackup:
    """The driver namespace comes back from a backup; what nodes and users see does not."""

    @pytest.mark.parametrize("cycles", [1, 3])
    def test_an_older_grant_gives_way_to_the_mirror(self, running: Process, cycles: int) -> None:
        cluster = running.cluster
        kept = cluster.secrets[GRANT]
        running.run_for(cycles * LIFE)
        latest = live(cluster)
        cluster._store(kept)
        fresh = restart(running)
        fresh.reconcile()
        assert presented_twice(cluster) == []
        assert live(cluster) == mirrored(cluster) != latest
        assert companion(cluster).generation == grant(cluster).generation
        assert companion(cluster).status is Status.READY


class TestClock:
    """A machine's clock was ahead while tokens were refreshed, and is set right."""

    @pytest.fixture
    def ahead(self, cluster: VirtualCluster) -> Process:
        cluster.offsets["pod-1"] = 7 * 86400.0
        process = Process(cluster)
        process.reconcile()
        cluster.offsets["pod-1"] = 0.0
        return process

    @pytest.mark.parametrize("again", [restart, lambda process: process])
    def test_a_token_from_the_future_is_refreshed_soon(
        self, ahead: Process, again: Callable[[Process], Process]
    ) -> None:
        cluster, process = ahead.cluster, again(ahead)
        process.reconcile()
        process.run_for(10.0)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert companion(cluster).token.expires_at <= cluster.now + LIFE  # type: ignore[union-attr]

    def test_failures_keep_their_pace(self, ahead: Process) -> None:
        ahead.cluster.server.script.extend([Failure(FailureReason.FORBIDDEN)] * 3)
        ahead.reconcile()
        ahead.run_for(1000.0)
        assert len(ahead.cluster.server.presented) <= 1 + 4

    def test_the_difference_between_two_machines_is_no_reason(self, ahead: Process) -> None:
        ahead.cluster.offsets["pod-1"] = 7 * 86400.0 - 30.0
        ahead.reconcile()
        ahead.run_for(600.0)
        assert ahead.cluster.server.tokens() == ["alice-0"]
