"""The companion of a token: restored, never lowered, never another owner's."""

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from tests.core.refresh.virtual_cluster import COMPANION, LIFE, Process, VirtualCluster, document


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
        assert cluster.status() == "Misconfigured"
        process.run_for(2 * LIFE)
        assert cluster.mirrored() == cluster.live()
        process.delete()
        process.run_for(1000)
        assert cluster.secrets == {COMPANION: stored}
        cluster.apply(document(cluster.server.login("bob")))
        del cluster.secrets[COMPANION]
        Process(cluster).reconcile()
        assert cluster.companion().status is Status.READY
