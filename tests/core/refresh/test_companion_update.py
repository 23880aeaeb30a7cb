"""The companion of a token: restored, never lowered, never another owner's."""

import pytest

from csidriver.core import annotations
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from tests.core.refresh.virtual_cluster import COMPANION, LIFE, Process, VirtualCluster, document

OTHERS = Companion(SourceRef("other", "source"), "u", 1, Status.READY, "", 0.0, None).annotations()


@pytest.mark.parametrize("secret_type", ["Opaque", annotations.COMPANION_SECRET_TYPE])
def test_a_foreign_object_under_the_companions_name_is_never_touched(
    cluster: VirtualCluster, secret_type: str
) -> None:
    stored = cluster.create(Secret(*COMPANION, type=secret_type, annotations=OTHERS))
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
