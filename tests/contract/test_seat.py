"""What every seat promises, on both backends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.clock import SystemClock
from csidriver.adapters.directory import FileLock
from csidriver.adapters.kubernetes import LeaseStore
from csidriver.config import LeaseTimings
from csidriver.refresher.leader_election import LeaderLock, LeaseLock
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS

Seats = Callable[[str], LeaderLock]
DRIVER = "oauth2-csi"


def kubernetes_seats(cluster: Cluster) -> Seats:
    cluster.reset_namespaces(DRIVER)
    return lambda holder: LeaseLock(
        LeaseStore(cluster.client(), DRIVER), holder, LeaseTimings(60.0, 20.0), SystemClock()
    )


@pytest.fixture(
    params=["directory", pytest.param("kubernetes", marks=pytest.mark.tools(*PROGRAMS))]
)
def seats(request: pytest.FixtureRequest, tmp_path: Path) -> Seats:
    """Makes a seat for a process of this name; all are one and the same."""
    if request.param == "directory":
        return lambda _: FileLock(tmp_path / "made" / "on demand")
    return kubernetes_seats(request.getfixturevalue("cluster"))


def test_one_has_it_as_long_as_it_likes(seats: Seats) -> None:
    one, other = seats("one"), seats("other")
    assert one.acquire()
    assert not other.acquire()
    assert one.acquire()
    assert not other.acquire()


def test_what_is_given_up_is_free_at_once(seats: Seats) -> None:
    one, other = seats("one"), seats("other")
    assert one.acquire()
    one.release()
    assert other.acquire()
    assert not one.acquire()
    other.release()
    assert one.acquire()


def test_what_one_does_not_have_one_cannot_give_up(seats: Seats) -> None:
    one, other = seats("one"), seats("other")
    other.release()
    assert one.acquire()
    assert not other.acquire()
    other.release()
    assert not other.acquire()
    one.release()
    one.release()
    assert other.acquire()
