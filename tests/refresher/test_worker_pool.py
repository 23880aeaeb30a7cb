import threading

import pytest

from csidriver.refresher.worker_pool import WorkerPool

PATIENCE = 10.0


class Job:
    """Work that lasts until it is told to end."""

    def __init__(self, most: int) -> None:
        self.begun = threading.Semaphore(0)
        self.end = threading.Event()
        self.pool = WorkerPool(self.work, most)

    def work(self) -> None:
        self.begun.release()
        self.end.wait(PATIENCE)


def test_no_more_workers_start_than_wanted() -> None:
    job = Job(most=3)
    for _ in range(10):
        job.pool.start_worker()
    for _ in range(3):
        assert job.begun.acquire(timeout=PATIENCE)
    assert not job.begun.acquire(timeout=0.05)
    job.end.set()
    assert job.pool.join(PATIENCE)


def test_join_waits_no_longer_than_asked() -> None:
    job = Job(most=1)
    job.pool.start_worker()
    assert job.begun.acquire(timeout=PATIENCE)
    assert not job.pool.join(0.05)
    job.end.set()
    assert job.pool.join(PATIENCE)


def test_a_worker_that_is_being_started_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    job, ended = Job(most=1), list[bool]()
    joiner = threading.Thread(target=lambda: ended.append(job.pool.join(PATIENCE)))
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        if thread is not joiner:
            joiner.start()
            joiner.join(0.2)  # without an end: it waits for the worker
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    job.end.set()
    job.pool.start_worker()
    joiner.join(PATIENCE)
    assert ended == [True]


def test_a_thread_that_fails_is_told_and_one_that_ends_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def fail() -> None:
        raise MemoryError

    for work, lost in ((fail, ["thread refresh-1 has ended"]), (lambda: None, [])):
        pool = WorkerPool(work, 1)
        pool.start_worker()
        assert pool.join(PATIENCE)
        assert pool.crashed() == lost
