from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.clock import SystemClock
from csidriver.adapters.directory import FolderLock
from csidriver.adapters.kubernetes import LeaseStore
from csidriver.config import LeaseTimings
from csidriver.refresher.leader_election import LeaderLock, LeaseLock
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS

NewLock = Callable[[str], LeaderLock]
DRIVER = "oauth2-csi"


def lease_locks(cluster: Cluster) -> NewLock:
    cluster.reset_namespaces(DRIVER)
    return lambda holder: LeaseLock(
        LeaseStore(cluster.client(), DRIVER), holder, LeaseTimings(60.0, 20.0), SystemClock()
    )


@pytest.fixture(
    params=["directory", pytest.param("kubernetes", marks=pytest.mark.tools(*PROGRAMS))]
)
def new_lock(request: pytest.FixtureRequest, tmp_path: Path) -> NewLock:
    if request.param == "directory":
        return lambda _: FolderLock(tmp_path / "made" / "on demand")
    return lease_locks(request.getfixturevalue("cluster"))


def test_a_lock_belongs_to_one_process_until_that_one_releases_it(new_lock: NewLock) -> None:
    first, other = new_lock("one"), new_lock("another")
    other.release()
    assert first.acquire()
    assert not other.acquire()
    other.release()
    assert first.acquire()
    assert not other.acquire()
    first.release()
    first.release()
    assert other.acquire()
    assert not first.acquire()
