import threading
from pathlib import Path

from csidriver.adapters.clock import SystemClock
from csidriver.config import LeaseTimings
from csidriver.refresher.leader_election import LeaderElector
from csidriver.refresher.refresher import Refresher
from csidriver.refresher.spool_lock import SpoolLock
from tests.refresher.bench import TIMEOUT, Bench, until


class FreeLock:
    """A leader lock that nobody else wants."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def test_a_leader_waits_for_its_spool_and_gives_it_back(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        other, spool_lock = SpoolLock(bench.spool), SpoolLock(bench.spool)
        assert other.folder_id() == spool_lock.folder_id()
        assert other.acquire()
        elector = LeaderElector(FreeLock(), LeaseTimings(), SystemClock())
        refresher = Refresher(elector, spool_lock, lambda: bench.new_controller(elector.is_leader))
        stop = threading.Event()
        thread = threading.Thread(target=refresher.run, args=(stop,))
        thread.start()
        try:
            assert until(refresher.ready) == ["another refresher works with this --spool-dir"]
            other.release()
            bench.apply("hello", bench.issuer.seed("my-app"))
            until(lambda: bench.refreshed("hello"))
            assert refresher.ready() == []
            assert refresher.alive() == []
        finally:
            stop.set()
            thread.join(TIMEOUT)
        assert not thread.is_alive()
        assert other.acquire(), "the spool is free again"
