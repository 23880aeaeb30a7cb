"""The permission to send (docs/protocol.md 5)."""

import math
from dataclasses import replace

import pytest

from csidriver.core.refresh.state import TokenState
from csidriver.core.refresh.token_request import RECHECK, acquire_slot
from csidriver.core.status import Status
from tests.core.refresh.grants import AFTER
from tests.core.refresh.virtual_cluster import ISSUER, REF, START, VirtualCluster


@pytest.mark.parametrize(
    ("pause", "left", "at", "status"),
    [
        (0.0, 10.0, None, Status.READY),
        (30.0, 10.0, START + 30, Status.ISSUER_UNAVAILABLE),
        (30.0, 3000.0, START + 30, Status.READY),
        (3.0, 10.0, START + 3, Status.READY),
        (math.inf, 10.0, START + RECHECK, Status.READY),
    ],
)
def test_a_pause_is_shown_if_the_token_ends_before(
    pause: float, left: float, at: float | None, status: Status
) -> None:
    cluster = VirtualCluster()
    cluster.pauses.append(pause)
    ends = START + left
    grant = replace(AFTER, status=Status.READY, issued_at=ends - 3600, expires_at=ends)
    state = TokenState(REF, grant=grant)
    after = cluster.run(acquire_slot(state, grant, ISSUER, grant.client, START))
    assert after.requeue_at == at
    assert after.grant is not None
    assert after.grant.status is status
    assert bool(cluster.slots) is (pause == 0.0)
