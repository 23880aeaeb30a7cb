"""The state of a token at a start from lists, and after watch events."""

from dataclasses import replace

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.refresh import grant_secret
from csidriver.core.status import Status
from tests.core.refresh.hooks import is_mirror, is_send, once
from tests.core.refresh.virtual_cluster import (
    COMPANION,
    GRANT,
    ISSUER,
    LIFE,
    REF,
    SOURCE,
    Process,
    VirtualCluster,
    document,
)


class TestRestored:
    def test_the_alias_of_the_documents_key_is_remembered(self) -> None:
        cluster = VirtualCluster()
        cluster.apply("", oauth2=document(cluster.server.login("alice")))
        stored = cluster.secrets[SOURCE]
        cluster.store(replace(stored, data={k: v for k, v in stored.data.items() if k != "oauth"}))
        process = Process(cluster)
        process.reconcile()
        process.restarted_for(LIFE)
        assert cluster.live() == "alice-2"
        assert '"alice-2"' in cluster.source().data["oauth2"].reveal()
        assert "oauth" not in cluster.source().data

    @pytest.mark.parametrize("edit", ["label", "old seed", "new login"])
    def test_an_outside_edit_costs_one_read(self, running: Process, edit: str) -> None:
        cluster = running.cluster
        if edit == "label":
            cluster.store(replace(cluster.source(), manager="kubectl-label"))
        else:
            seed = cluster.server.login("bob") if edit == "new login" else "alice-0"
            cluster.apply(document(seed))
        fresh = running.restarted()
        assert cluster.cost(fresh.reconcile)[0] == 1
        assert (cluster.warning() == "OldSeedRestored") is (edit == "old seed")
        assert cluster.live() == ("bob-1" if edit == "new login" else "alice-1")

    def test_what_a_crash_left_unwritten_is_written_without_a_read(self, running: Process) -> None:
        """The grant moved on after the source was last written: it has been seen, and lags."""
        cluster = running.cluster
        running.die_before(is_mirror)
        assert cluster.mirrored() == "alice-1"
        fresh = running.restarted()
        assert cluster.cost(fresh.reconcile) == (0, 1)
        assert cluster.mirrored() == cluster.live() == "alice-2"
        assert cluster.companion().generation == cluster.grant().generation


def test_a_restored_version_is_news_although_it_was_ours_once(running: Process) -> None:
    """The directory backend names a version by its content."""
    cluster = running.cluster
    old = cluster.secrets[COMPANION]
    running.run_for(LIFE)
    running.observe(TokenObject.COMPANION)
    cluster.secrets[COMPANION] = old
    assert running.observe(TokenObject.COMPANION).grant_stale


class TestGrantThatOthersChanged:
    def test_a_deleted_companion_is_restored_at_once(self, running: Process) -> None:
        cluster, before = running.cluster, running.cluster.companion()
        assert cluster.cost(lambda: running.meddle(TokenObject.COMPANION)) == (2, 1)
        assert cluster.companion() == before

    def test_a_changed_companion_is_put_right_and_never_back(self, running: Process) -> None:
        notes = running.cluster.secrets[COMPANION].annotations
        running.meddle(TokenObject.COMPANION, annotations={**notes, annotations.STATUS: "Invalid"})
        assert running.cluster.companion().status is Status.READY
        running.meddle(TokenObject.COMPANION, annotations={**notes, annotations.GENERATION: "9"})
        assert running.cluster.companion().generation == 9

    def test_a_deleted_grant_is_made_again_from_memory(self, running: Process) -> None:
        cluster = running.cluster
        cluster.immutable.add(REF)
        running.run_for(LIFE)
        assert (cluster.live(), cluster.mirrored()) == ("alice-2", "alice-1")
        generation = cluster.grant().generation
        running.meddle(TokenObject.GRANT)
        assert cluster.live() == "alice-2"
        assert cluster.grant().generation == generation
        running.run_for(LIFE)
        assert cluster.presented_twice() == []
        assert cluster.live() == "alice-3"

    def test_a_reseed_beats_the_memory_of_a_deleted_grant(self, running: Process) -> None:
        cluster, before = running.cluster, running.cluster.grant().generation
        cluster.apply(document(cluster.server.login("bob")))
        running.meddle(TokenObject.GRANT)
        assert cluster.live() == cluster.mirrored() == "bob-1"
        assert cluster.grant().generation > before

    def test_a_memory_that_nodes_have_outrun_gives_way(self, running: Process) -> None:
        """A peer has refreshed since; what this process remembers is spent."""
        running.peer(LIFE)
        running.meddle(TokenObject.GRANT)
        assert running.cluster.server.tokens() == ["alice-0", "alice-1", "alice-2"]
        assert running.cluster.live() == "alice-3"

    def test_an_older_copy_of_a_grant_is_replaced_by_what_is_remembered(
        self, running: Process
    ) -> None:
        cluster, backup = running.cluster, running.cluster.grant()
        running.run_for(LIFE)
        running.meddle(TokenObject.GRANT, data=grant_secret.to_data(backup))
        assert cluster.live() == "alice-2"
        running.run_for(LIFE)
        assert cluster.presented_twice() == []

    def test_a_grant_damaged_during_the_exchange_is_mended_by_a_reply(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        damaged = replace(cluster.secrets[GRANT], data={})
        cluster.before = once(is_send, lambda: cluster.store(damaged))
        running.run_for(LIFE)
        assert (cluster.status(), cluster.live()) == ("Ready", "alice-2")

    def test_what_is_deleted_by_hand_is_forgotten(self, running: Process) -> None:
        running.cluster.secrets.clear()
        running.observe(TokenObject.GRANT)
        running.reconcile(event=True)
        assert running.state.grant_missing_in_store
        running.run_for(601)
        assert running.state.grant is None
        assert running.cluster.secrets == {}


class TestCost:
    def test_a_day_of_refreshes_reads_nothing(self, running: Process) -> None:
        reads, writes = running.cluster.cost(lambda: running.run_for(86400))
        assert (reads, writes) == (0, 4 * (len(running.cluster.server.presented) - 1))
        assert len(running.state.own_versions) == 4, "those of the last refresh"

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
    cluster.store(kept)
    running.restarted().reconcile()
    assert cluster.presented_twice() == []
    assert cluster.live() == cluster.mirrored() != latest
    assert cluster.companion().generation == cluster.grant().generation
    assert cluster.companion().status is Status.READY


def test_a_token_from_the_future_is_refreshed_soon(process: Process) -> None:
    """The machine's clock was ahead, and is set right."""
    cluster = process.cluster
    cluster.offsets["pod-1"] = 7 * 86400.0
    process.reconcile()
    cluster.offsets["pod-1"] = 0.0
    process.restarted_for(10.0)
    assert cluster.server.tokens() == ["alice-0", "alice-1"]
    assert cluster.companion().token.expires_at <= cluster.now + LIFE  # type: ignore[union-attr]
