"""Several watches as one: all existing objects, None, then changes in the order they arrive."""

import logging
import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from random import Random

from csidriver.adapters.kubernetes.client import KubernetesClient
from csidriver.adapters.kubernetes.watch import SecretWatch, WatchScope
from csidriver.core.kubernetes.change import FindOwnWrite, SecretChange
from csidriver.errors import StoreError, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)

_MAX_QUEUED = 1000  # changes; a watch that finds the queue full waits
_MAX_LISTS = 4  # at the same time


def watch_all(
    client: KubernetesClient,
    scopes: Sequence[WatchScope],
    rng: Random,
    stop: threading.Event,
    find_own: FindOwnWrite | None = None,
) -> Generator[SecretChange | None, None, None]:
    if stop.is_set():
        return
    watches = [SecretWatch(client, scope, rng, find_own) for scope in scopes]
    merged = _MergedWatch(client, watches, rng)
    merged.start()
    try:
        yield from merged.results(stop)
    finally:
        merged.stop()


class _MergedWatch:
    """A thread for each watch, and the queue of their results."""

    def __init__(
        self, client: KubernetesClient, watches: Sequence[SecretWatch], rng: Random
    ) -> None:
        self._timeouts = client.timeouts
        self._watches = watches
        self._rng = rng
        self._queue: queue.Queue[SecretChange | StoreError | None] = queue.Queue(_MAX_QUEUED)
        self._lists = threading.Semaphore(_MAX_LISTS)
        self._listed = threading.Barrier(len(watches), action=lambda: self._put(None))
        self._stopped = threading.Event()

    def start(self) -> None:
        for watch in self._watches:
            name = f"watch-{watch.scope.token_object.name.lower()}"
            threading.Thread(target=self._run, args=(watch,), name=name, daemon=True).start()

    def results(self, stop: threading.Event) -> Iterator[SecretChange | None]:
        """Yield all results until `stop`; raises the StoreError that ended a watch."""
        while not stop.is_set():
            try:
                item = self._queue.get(timeout=self._timeouts.poll)
            except queue.Empty:
                continue
            if isinstance(item, StoreError):
                raise item
            yield item

    def stop(self) -> None:
        self._stopped.set()
        self._listed.abort()
        for watch in self._watches:
            watch.abort()

    def _run(self, watch: SecretWatch) -> None:
        try:
            with self._lists:
                refused = self._tolerating_refusal(watch, watch.list_changes(), refused=False)
            self._listed.wait()
            self._follow(watch, refused=refused)
        except threading.BrokenBarrierError:
            pass
        except StoreError as error:
            self._put(error.with_traceback(None))
        except Exception:
            log.exception("watching Secrets failed")
            self._put(StoreUnavailable("a watch failed"))

    def _follow(self, watch: SecretWatch, *, refused: bool) -> None:
        """Put changes until stopped; the second failure in a row is raised."""
        failed = False
        while not self._stopped.is_set():
            try:
                refused = self._tolerating_refusal(watch, watch.watch_once(), refused=refused)
                failed = False
            except StoreUnavailable:
                if failed and not watch.received_events:
                    raise
                failed = True
            pause = self._timeouts.refused_retry if refused else self._timeouts.watch_retry
            self._stopped.wait(pause * (1 + self._rng.random()))

    def _tolerating_refusal(
        self, watch: SecretWatch, changes: Iterable[SecretChange], *, refused: bool
    ) -> bool:
        """Put changes; return True if they are refused, which is logged once."""
        try:
            for change in changes:
                self._put(change)
                if self._stopped.is_set():
                    break
        except StoreRefused as error:
            if not watch.scope.may_be_refused:
                raise
            if not refused:
                log.warning("%s", error)
            return True
        return False

    def _put(self, item: SecretChange | StoreError | None) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=self._timeouts.poll)
            except queue.Full:
                continue
            return
