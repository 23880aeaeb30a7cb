"""The companion of a token: restored, never lowered, never another owner's."""

from dataclasses import replace

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from tests.core.refresh.cluster_checks import (
    COMPANION,
    LIFE,
    SOURCE,
    companion,
    delete,
    document,
    live,
    mirrored,
    note,
)
from tests.core.refresh.virtual_cluster import Process, VirtualCluster


class TestMirrorAndCompanion:
    @pytest.mark.parametrize(
        "foreign",
        [
            pytest.param(Secret(*COMPANION, data={"mine": Sensitive("x")}), id="another type"),
            pytest.param(
                Secret(
                    *COMPANION,
                    type=annotations.COMPANION_SECRET_TYPE,
                    annotations={
                        annotations.SOURCE_NAMESPACE: "other",
                        annotations.SOURCE_NAME: "source",
                        annotations.SOURCE_UID: "u",
                        annotations.GENERATION: "1",
                        annotations.STATUS: "Ready",
                    },
                ),
                id="another source",
            ),
        ],
    )
    def test_a_foreign_object_under_the_companions_name_is_never_touched(
        self, cluster: VirtualCluster, foreign: Secret
    ) -> None:
        stored = cluster.create(foreign)
        process = Process(cluster)
        process.reconcile()
        assert note(cluster, annotations.STATUS) == "Misconfigured"
        process.run_for(2 * LIFE)
        assert mirrored(cluster) == live(cluster)
        delete(cluster, SOURCE)
        process.reconcile(event=True)
        process.run_for(1000)
        assert cluster.secrets == {COMPANION: stored}
        cluster.apply(document(cluster.server.login("bob")))
        delete(cluster, COMPANION)
        Process(cluster).reconcile()
        assert companion(cluster).status is Status.READY

    def test_a_deleted_companion_is_restored_by_a_fresh_look(self, running: Process) -> None:
        cluster = running.cluster
        before = companion(cluster)
        delete(cluster, COMPANION)
        Process(cluster).reconcile()
        assert companion(cluster).generation == before.generation

    def test_a_companion_never_goes_back(self, running: Process) -> None:
        cluster = running.cluster
        ahead = {**cluster.secrets[COMPANION].annotations, annotations.GENERATION: "9"}
        cluster.secrets[COMPANION] = replace(cluster.secrets[COMPANION], annotations=ahead)
        Process(cluster).reconcile()
        assert companion(cluster).generation == 9
