import threading

import pytest

from csidriver.refresher.worker_pool import WorkerPool

PATIENCE = 10.0


def test_join_waits_for_all_workers_and_no_longer_than_asked() -> None:
    begun, end = threading.Semaphore(0), threading.Event()

    def work() -> None:
        begun.release()
        end.wait(PATIENCE)

    pool = WorkerPool(work, 3)
    pool.start()
    for _ in range(3):
        assert begun.acquire(timeout=PATIENCE)
    assert not pool.join(0.05)
    end.set()
    assert pool.join(PATIENCE)


def test_a_thread_that_fails_is_told_and_one_that_ends_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def fail() -> None:
        raise MemoryError

    for work, lost in ((fail, ["thread refresh-1 has ended"]), (lambda: None, [])):
        pool = WorkerPool(work, 1)
        pool.start()
        assert pool.join(PATIENCE)
        assert pool.crashed() == lost
