"""Brings new tokens into the files of published volumes, one thread for all of them.

A file that somebody keeps open is tried again a little later and delays no other file. Only when
its old token runs out is it written without the lease.
"""

import heapq
import itertools
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from csidriver.clock import Clock
from csidriver.errors import DriverError
from csidriver.node.metrics import NodeMetrics
from csidriver.node.tokenfile import RewriteResult

log = logging.getLogger(__name__)

# Seconds: the first and the longest pause after a busy file, and for how long it may be busy. In
# between a pause is a tenth of the time already lost: somebody who reads without end is met at one
# of many tries soon, somebody who never closes the file costs little.
FIRST_PAUSE, LONGEST_PAUSE, MAX_BUSY = 0.001, 0.1, 60.0
PAUSE_SHARE = 0.1
# Seconds until a file that could not be written at all is tried again, at first and at most.
FAILURE_PAUSE, LONGEST_FAILURE_PAUSE = 1.0, 60.0


class Rewritable(Protocol):
    """The file of one volume."""

    def rewrite(self, *, leased: bool) -> tuple[RewriteResult, float]:
        """Write the newest token; says how, and the token's written_at in epoch seconds."""

    def remaining(self) -> float:
        """Seconds of life the token in the file has left."""


class RewritableVolumes(Protocol):
    """All volumes of the node."""

    def get(self, volume_id: str) -> Rewritable | None:
        """The file of a volume, None once it is unpublished."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A file to rewrite: trying `since` an instant, under a lease `until` another one."""

    volume_id: str
    since: float
    until: float | None = None

    def pause(self, now: float, shortest: float, longest: float) -> float:
        """Seconds until the next try."""
        return min(longest, max(shortest, PAUSE_SHARE * (now - self.since)))


class Rotation:
    """The queue of files to rewrite. `run` works through it until `stop` is set."""

    def __init__(self, volumes: RewritableVolumes, metrics: NodeMetrics, clock: Clock) -> None:
        self._volumes = volumes
        self._metrics = metrics
        self._clock = clock
        self._wake = threading.Condition()
        self._queue: list[tuple[float, int, _Attempt]] = []
        self._pending: set[str] = set()
        self._order = itertools.count()

    def request(self, volume_ids: Iterable[str]) -> None:
        """Have these files rewritten soon; a file that is already waiting waits once."""
        with self._wake:
            now = self._clock.monotonic()
            for volume_id in volume_ids:
                if volume_id not in self._pending:
                    self._push(now, _Attempt(volume_id, now))
            self._wake.notify()

    def wake(self) -> None:
        """Make `run` look at its stop event."""
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
                log.exception("rewriting a token file failed")
                self._retry_after_failure(attempt)

    def _push(self, due: float, attempt: _Attempt) -> None:
        self._pending.add(attempt.volume_id)
        heapq.heappush(self._queue, (due, next(self._order), attempt))

    def _next(self, stop: threading.Event) -> _Attempt | None:
        with self._wake:
            while not stop.is_set():
                wait = self._queue[0][0] - self._clock.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    attempt = heapq.heappop(self._queue)[2]
                    self._pending.discard(attempt.volume_id)
                    return attempt
                self._wake.wait(wait)
        return None

    def _attempt(self, attempt: _Attempt) -> None:
        file = self._volumes.get(attempt.volume_id)
        if file is None:
            return
        now = self._clock.monotonic()
        until = attempt.until
        outcome, written_at = file.rewrite(leased=until is None or now < until)
        if outcome is not RewriteResult.BUSY:
            self._metrics.count_rewrite(outcome, self._clock.now() - written_at)
            return
        if until is None:
            until = now + min(MAX_BUSY, file.remaining() / 2)
        again = replace(attempt, until=until)
        self._requeue(again, attempt.pause(now, FIRST_PAUSE, LONGEST_PAUSE))

    def _retry_after_failure(self, attempt: _Attempt) -> None:
        self._metrics.count_rewrite_failure()
        now = self._clock.monotonic()
        self._requeue(attempt, attempt.pause(now, FAILURE_PAUSE, LONGEST_FAILURE_PAUSE))

    def _requeue(self, attempt: _Attempt, pause: float) -> None:
        with self._wake:
            # A request that came in the meantime is as good as ours, but knows no deadline.
            if attempt.volume_id not in self._pending:
                self._push(self._clock.monotonic() + pause, attempt)
