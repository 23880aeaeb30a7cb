"""Two refreshers and one Lease of a real API server: who works, and since when."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from csidriver.adapters.clock import SystemClock
from csidriver.adapters.kubernetes import LeaseStore, Timeouts
from csidriver.config import LeaseTimings
from csidriver.refresher.leader_election import LeaderElector, LeaseLock
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.refresher.bench import until

pytestmark = pytest.mark.tools(*PROGRAMS)
DRIVER = "oauth2-csi"
TERM = LeaseTimings(3.0, 1.0)
WAIT = 20.0  # seconds; only a defect waits for it
ENDLESS = LeaseTimings(3 * WAIT, TERM.renew)  # who waits for its end fails


class Replica:
    """A process of a Deployment, as far as the Lease goes."""

    def __init__(self, cluster: Cluster, name: str, term: LeaseTimings = TERM) -> None:
        clock = SystemClock()
        client = cluster.client(Timeouts.within(term.renew))
        leader_lock = LeaseLock(LeaseStore(client, DRIVER), name, term, clock)
        self.elector = LeaderElector(leader_lock, term, clock)
        self.stop = threading.Event()
        self.began, self.over, self.ended = (threading.Event() for _ in range(3))
        self.drained = threading.Event()
        self._thread = threading.Thread(target=self.elector.run, args=(self.stop, self._work))
        self._thread.start()

    def _work(self, over: threading.Event) -> None:
        self.began.set()
        assert over.wait(WAIT)
        self.over.set()
        # What is in flight takes its time.
        assert self.drained.wait(WAIT)
        self.ended.set()

    def close(self) -> None:
        self.stop.set()
        self.drained.set()
        self._thread.join(WAIT)
        assert not self._thread.is_alive()


@pytest.fixture
def replica(cluster: Cluster) -> Iterator[Callable[..., Replica]]:
    cluster.reset_namespaces(DRIVER)
    made: list[Replica] = []

    def make(name: str, term: LeaseTimings = TERM) -> Replica:
        made.append(Replica(cluster, name, term))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_standby_waits_while_the_lease_is_renewed(replica: Callable[..., Replica]) -> None:
    first = replica("first")
    assert first.began.wait(WAIT)
    second = replica("second")
    assert not second.began.wait(2 * TERM.duration)
    assert first.elector.is_leader()


def test_a_standby_starts_at_a_stop_and_waits_for_no_term(
    replica: Callable[..., Replica], cluster: Cluster
) -> None:
    first = replica("first", ENDLESS)
    assert first.began.wait(WAIT)
    second = replica("second", ENDLESS)
    assert not second.began.wait(ENDLESS.renew)
    first.stop.set()
    assert second.began.wait(WAIT), "it was told, and need not wait"
    assert not first.ended.is_set(), "it still finishes what it has begun"
    assert not first.elector.is_leader()
    stored = cluster.plane.api(
        "GET", f"/apis/coordination.k8s.io/v1/namespaces/{DRIVER}/leases/oauth2-csi-refresher"
    )
    assert stored["spec"]["holderIdentity"] == "second"
    assert stored["spec"]["leaseTransitions"] == 1


def test_who_cannot_reach_the_api_server_stops_before_the_other_starts(
    replica: Callable[..., Replica], cluster: Cluster
) -> None:
    first = replica("first")
    assert first.began.wait(WAIT)
    cluster.plane.stop_api_server(kill=True)
    cut_off = time.monotonic()
    try:
        led = last_instant_as_leader(first)
        assert led < cut_off + TERM.duration
        assert first.over.wait(WAIT)
        assert not first.elector.is_leader()
        assert first.elector.ready()
        assert not first.ended.is_set(), "it still finishes what it has begun"
    finally:
        # Its patience may be shorter than a start of the API server.
        first.drained.set()
        cluster.plane.start_api_server()


def last_instant_as_leader(replica: Replica) -> float:
    """Return an instant (monotonic) after which it was the leader once more, and then no more."""
    led = time.monotonic()

    def is_over() -> bool:
        nonlocal led
        at = time.monotonic()
        if not replica.elector.is_leader():
            return True
        led = at
        return False

    until(is_over, "the end of its leadership")
    return led


def test_a_standby_takes_over_from_one_that_went_silent(
    replica: Callable[..., Replica], cluster: Cluster
) -> None:
    client = cluster.client()
    dead = LeaseLock(LeaseStore(client, DRIVER), "dead", TERM, SystemClock())
    assert dead.acquire()
    began = time.monotonic()
    second = replica("second")
    assert second.began.wait(WAIT)
    assert time.monotonic() - began >= TERM.duration
    assert not dead.acquire()
