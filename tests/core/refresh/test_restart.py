"""What a start, a refresh and a change cost, and what of it is noticed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.status import Status
from tests.core.refresh.virtual_cluster import GRANT, ISSUER, LIFE, REF, Process, VirtualCluster


class TestCost:
    def test_a_day_of_refreshes_reads_nothing(self, running: Process) -> None:
        reads, writes = running.cluster.cost(lambda: running.run_for(86400))
        assert (reads, writes) == (0, 4 * (len(running.cluster.server.presented) - 1))
        assert len(running.state.own_versions) == 16, "no more are remembered"

    def test_a_server_that_never_rotates_saves_the_intent(self, running: Process) -> None:
        running.issuer = replace(ISSUER, reuse=float("inf"))
        running.cluster.now = running.state.next_reconcile or 0
        assert running.cluster.cost(running.reconcile) == (0, 3)

    @pytest.mark.parametrize("refreshes", [0, 3])
    def test_a_start_in_order_costs_nothing(self, running: Process, refreshes: int) -> None:
        cluster = running.cluster
        running.run_for(refreshes * LIFE)
        fresh = running.restarted()
        assert cluster.cost(fresh.reconcile) == (0, 0)
        assert fresh.state.next_reconcile == running.state.next_reconcile
        assert "alice-1" not in repr(fresh.state)
        assert "s3cret" not in repr(fresh.state)
        cluster.now = fresh.state.next_reconcile or 0
        before = cluster.live()
        assert cluster.cost(fresh.reconcile) == (0, 4)
        assert cluster.live() == cluster.mirrored() != before
        fresh.observe()
        assert cluster.cost(fresh.reconcile) == (0, 0)

    @pytest.mark.parametrize("what", TokenObject)
    def test_ones_own_writes_are_no_news(self, running: Process, what: TokenObject) -> None:
        known = running.state
        for version in [v for w, v in known.own_versions if w is what]:
            known = known.with_change(SecretChange(REF, what, version))
        assert not known.source_stale
        assert not known.grant_stale
        assert all(w is not what for w, _ in known.own_versions)


def test_nothing_is_sent_or_deleted_for_a_namespace_that_is_not_enrolled(running: Process) -> None:
    cluster, fresh = running.cluster, running.restarted()
    fresh.namespaces = ("elsewhere",)
    assert cluster.cost(lambda: fresh.run_for(10 * LIFE)) == (0, 0)
    assert cluster.cost(lambda: fresh.reconcile(event=True)) == (0, 0)
    again = fresh.restarted()
    again.namespaces = ("elsewhere", REF.namespace)
    cluster.now += 10 * LIFE
    again.reconcile()
    assert cluster.live() == cluster.mirrored() == "alice-2"
    assert cluster.companion().status is Status.READY


def test_a_grant_from_a_backup_gives_way_to_the_mirror(running: Process) -> None:
    cluster = running.cluster
    kept = cluster.secrets[GRANT]
    running.run_for(3 * LIFE)
    latest = cluster.live()
    cluster._store(kept)
    running.restarted().reconcile()
    assert cluster.presented_twice() == []
    assert cluster.live() == cluster.mirrored() != latest
    assert cluster.companion().generation == cluster.grant().generation
    assert cluster.companion().status is Status.READY


class TestClock:
    """A machine's clock was ahead while tokens were refreshed, and is set right."""

    @pytest.fixture
    def ahead(self, cluster: VirtualCluster) -> Process:
        cluster.offsets["pod-1"] = 7 * 86400.0
        process = Process(cluster)
        process.reconcile()
        cluster.offsets["pod-1"] = 0.0
        return process

    @pytest.mark.parametrize("again", [Process.restarted, lambda process: process])
    def test_a_token_from_the_future_is_refreshed_soon(
        self, ahead: Process, again: Callable[[Process], Process]
    ) -> None:
        cluster, process = ahead.cluster, again(ahead)
        process.reconcile()
        process.run_for(10.0)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert cluster.companion().token.expires_at <= cluster.now + LIFE  # type: ignore[union-attr]

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
