"""The mirror, the annotations and the Events of a source (docs/protocol.md 4.7)."""

from dataclasses import replace

from csidriver.core import annotations
from csidriver.core.refresh import effects
from csidriver.core.refresh.effects import PatchSecret
from csidriver.core.refresh.grant import MAX_SPENT
from csidriver.core.status import Status
from csidriver.errors import StoreRefused
from tests.core.refresh.virtual_cluster import LIFE, REF, Process, document
from tests.core.refresh.virtual_server import answer


class TestMirrorAndCompanion:
    def test_a_refused_mirror_is_a_warning_and_stops_nothing(self, process: Process) -> None:
        cluster = process.cluster
        cluster.immutable.add(REF)
        process.reconcile()
        assert cluster.warning() == "MirrorRefused"
        assert cluster.status() == "Ready"
        assert cluster.reasons() == ["Pending", "Ready", "MirrorRefused"]
        process.run_for(2 * LIFE)
        assert cluster.mirrored() == "alice-0"
        assert cluster.live() != "alice-1"
        assert cluster.companion().generation == cluster.grant().generation
        cluster.immutable.clear()
        process.run_for(601)
        assert cluster.mirrored() == cluster.live()
        assert cluster.warning() == ""
        assert cluster.presented_twice() == []

    def test_a_fault_beside_the_document_does_not_stop_the_mirror(self, running: Process) -> None:
        """A token that was replaced too long ago is no longer known to be an old one."""
        cluster = running.cluster
        cluster.annotate(annotations.GRANT_TYPE, "Client_Credentials")
        running.reconcile(event=True)
        running.run_for(2 * MAX_SPENT * LIFE)
        assert cluster.status() == "Invalid"
        assert cluster.mirrored() == cluster.live()
        cluster.annotate(annotations.GRANT_TYPE, "refresh_token")
        running.reconcile(event=True)
        running.run_for(LIFE)
        assert cluster.status() == "Ready"
        assert cluster.presented_twice() == []

    def test_a_mirror_too_large_to_be_read_back_is_not_written(self, running: Process) -> None:
        """Our own mirror must never make its source Invalid."""
        cluster = running.cluster
        large = {"refresh_token": "big", "access_token": "a", "expires_in": LIFE, "x": "y" * 2**18}
        cluster.server.script.append(answer(200, large))
        cluster.server.families["big"] = ["big"]
        running.run_for(LIFE)
        assert cluster.live() == "big"
        assert cluster.mirrored() == "alice-1"
        assert cluster.warning() == "MirrorRefused"
        assert cluster.status() == "Ready"
        Process(cluster).reconcile()
        assert cluster.live() == "big"
        assert cluster.status() == "Ready"

    def test_whoever_restored_an_old_seed_is_named(self, running: Process) -> None:
        cluster = running.cluster
        cluster.store(replace(cluster.apply(document("alice-0")), manager="argocd-controller"))
        running.reconcile(event=True)
        told = [e for e in cluster.done if isinstance(e, effects.EmitEvent)][-1]
        assert told.reason == "OldSeedRestored"
        assert "written by 'argocd-controller'" in told.message

    def test_a_source_that_refuses_even_annotations_stops_nothing(self, process: Process) -> None:
        cluster = process.cluster
        cluster.fail_next(PatchSecret, StoreRefused("policy"), times=10**6, on=REF.name)
        process.reconcile()
        process.run_for(2 * LIFE)
        assert len(cluster.server.families["alice"]) > 2
        assert cluster.companion().status is Status.READY
        assert cluster.reasons() == ["MirrorRefused"], "all that is left is one Event"

    def test_annotations_that_are_removed_are_written_less_often(self, running: Process) -> None:
        cluster = running.cluster
        events, first = cluster.reasons(), cluster.now
        wanted = {key: cluster.note(key) for key in (annotations.STATUS, annotations.EXPIRES_AT)}

        def remove() -> None:
            bare = {annotations.IS_TOKEN: "true"}
            cluster.store(replace(cluster.source(), annotations=bare, manager="another"))

        times = []
        while cluster.now < first + LIFE / 3:
            remove()
            running.reconcile(event=True)
            while not cluster.status():
                cluster.now = running.state.next_reconcile or 0.0
                running.reconcile()
            times.append(cluster.now - first)
        assert times == [0.0, 2.0, 6.0, 14.0, 30.0, 62.0, 126.0, 254.0, 510.0, 1022.0, 1622.0]
        assert cluster.reasons() == events
        assert {key: cluster.note(key) for key in wanted} == wanted
        running.run_for(LIFE)
        remove()
        running.reconcile(event=True)
        assert cluster.status() == "Ready"
