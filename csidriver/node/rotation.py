"""Writes new tokens into the files of published volumes, in one thread for all of them.

A file that a process keeps open is tried again a little later, and delays no other file. It is
written without the lease only when its old token is about to expire.
"""

import contextlib
import heapq
import itertools
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from csidriver.clock import Clock
from csidriver.errors import DriverError
from csidriver.node.metrics import NodeMetrics
from csidriver.node.tokenfile import RewriteResult
from csidriver.node.volume import Volume
from csidriver.node.volume_manager import VolumeManager

log = logging.getLogger(__name__)

# Seconds: the first and the longest pause after a busy file, and for how long it may be busy. Each
# pause in between is a tenth of the time since the request: many tries soon find a gap between two
# reads, and a file that is never closed costs little.
FIRST_PAUSE, LONGEST_PAUSE, MAX_BUSY = 0.001, 0.1, 60.0
PAUSE_SHARE = 0.1
# Seconds until a file that could not be written at all is tried again, at first and at most.
FAILURE_PAUSE, LONGEST_FAILURE_PAUSE = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class _QueuedFile:
    """A file to rewrite, requested at `since`, under a lease until `leased_until`."""

    volume_id: str
    since: float
    leased_until: float | None = None

    def pause(self, now: float, shortest: float, longest: float) -> float:
        return min(longest, max(shortest, PAUSE_SHARE * (now - self.since)))


class Rotation:
    """The queue of files to rewrite. `run` works through it until `stop` is set."""

    def __init__(self, volumes: VolumeManager, metrics: NodeMetrics, clock: Clock) -> None:
        self._volumes = volumes
        self._metrics = metrics
        self._clock = clock
        self._wake = threading.Condition()
        self._queue: list[tuple[float, int, _QueuedFile]] = []
        self._pending: set[str] = set()
        self._order = itertools.count()
        # The volumes on whose leases a thread waits.
        self._breaking: set[str] = set()

    def request(self, volume_ids: Iterable[str]) -> None:
        """Queue files for a rewrite, unless they are queued already."""
        with self._wake:
            now = self._clock.monotonic()
            for volume_id in volume_ids:
                if volume_id not in self._pending:
                    self._push(now, _QueuedFile(volume_id, now))
            self._wake.notify()

    def wake(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def run(self, stop: threading.Event) -> None:
        """Rewrite files until `stop` is set and `wake` was called."""
        while (attempt := self._next(stop)) is not None:
            try:
                self._attempt(attempt)
            except DriverError as error:
                log.warning("volume %s: %s", attempt.volume_id, error)
                self._retry_after_failure(attempt)
            except Exception:
                log.exception("volume %s: rewriting its token file failed", attempt.volume_id)
                self._retry_after_failure(attempt)

    def _push(self, due: float, attempt: _QueuedFile) -> None:
        self._pending.add(attempt.volume_id)
        heapq.heappush(self._queue, (due, next(self._order), attempt))

    def _next(self, stop: threading.Event) -> _QueuedFile | None:
        with self._wake:
            while not stop.is_set():
                wait = self._queue[0][0] - self._clock.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    attempt = heapq.heappop(self._queue)[2]
                    self._pending.discard(attempt.volume_id)
                    return attempt
                self._wake.wait(wait)
        return None

    def _attempt(self, attempt: _QueuedFile) -> None:
        file = self._volumes.get(attempt.volume_id)
        if file is None:
            return
        now = self._clock.monotonic()
        leased_until = attempt.leased_until
        result, written_at = file.rewrite(leased=leased_until is None or now < leased_until)
        if result is not RewriteResult.BUSY:
            self._metrics.count_rewrite(result, self._clock.now() - written_at)
            return
        if leased_until is not None and now >= leased_until:
            self._break_lease(file)
        if leased_until is None:
            leased_until = now + min(MAX_BUSY, file.remaining() / 2)
        retry = replace(attempt, leased_until=leased_until)
        self._requeue(retry, attempt.pause(now, FIRST_PAUSE, LONGEST_PAUSE))

    def _break_lease(self, file: Volume) -> None:
        """Rewrite, in a thread of its own, a file on which a process keeps taking a lease."""
        volume_id = file.record.volume_id

        def run() -> None:
            try:
                with _without_leases(file.file):
                    result, written_at = file.rewrite(leased=False)
                self._metrics.count_rewrite(result, self._clock.now() - written_at)
            except (DriverError, OSError) as error:
                log.warning(
                    "volume %s: its lease is not broken: %s", volume_id, type(error).__name__
                )
            finally:
                self._breaking.discard(volume_id)

        if volume_id not in self._breaking:
            self._breaking.add(volume_id)
            threading.Thread(target=run, name="lease", daemon=True).start()

    def _retry_after_failure(self, attempt: _QueuedFile) -> None:
        self._metrics.rewrite_failures.inc()
        now = self._clock.monotonic()
        self._requeue(attempt, attempt.pause(now, FAILURE_PAUSE, LONGEST_FAILURE_PAUSE))

    def _requeue(self, attempt: _QueuedFile, pause: float) -> None:
        with self._wake:
            # A request that came in the meantime does the same, with a new deadline.
            if attempt.volume_id not in self._pending:
                self._push(self._clock.monotonic() + pause, attempt)


@contextlib.contextmanager
def _without_leases(path: Path) -> Iterator[None]:
    """Wait until no other process has a lease on the file, and keep new ones away.

    The kernel ends a lease after `/proc/sys/fs/lease-break-time`, and a read lease needs a file
    that nobody opens for writing (fcntl(2)): an open that waits gets it, however often a process
    takes its lease again. An open that does not wait would never get it.
    """
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield
    finally:
        os.close(fd)
