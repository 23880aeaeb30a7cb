"""Several watches told as one: everything there is, None, then changes in the order they come."""

import logging
import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence

from csidriver.adapters.kubernetes.client import KubernetesClient
from csidriver.adapters.kubernetes.watch import Chance, SecretWatch, WatchScope
from csidriver.core.kubernetes.change import SecretChange
from csidriver.errors import StoreError, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)

# Changes told and not taken yet; a watch that is ahead waits.
_MAX_QUEUED = 1000
# Lists at a time.
_MAX_LISTS = 4


def watch_all(
    client: KubernetesClient, scopes: Sequence[WatchScope], chance: Chance, stop: threading.Event
) -> Generator[SecretChange | None, None, None]:
    """What `KubernetesStore.watch_changes` tells."""
    if stop.is_set():
        return
    watches = [SecretWatch(client, scope, chance) for scope in scopes]
    merged = _MergedWatch(client, watches, chance)
    merged.start()
    try:
        yield from merged.results(stop)
    finally:
        merged.stop()


class _MergedWatch:
    """A thread for each watch, and the queue through which they tell."""

    def __init__(
        self, client: KubernetesClient, watches: Sequence[SecretWatch], chance: Chance
    ) -> None:
        self._timeouts = client.timeouts
        self._watches = watches
        self._chance = chance
        self._queue: queue.Queue[SecretChange | StoreError | None] = queue.Queue(_MAX_QUEUED)
        self._lists = threading.Semaphore(_MAX_LISTS)
        self._listed = threading.Barrier(len(watches), action=self._put_end_of_lists)
        self._stopped = threading.Event()

    def start(self) -> None:
        """List and watch from now on."""
        for watch in self._watches:
            name = f"watch-{watch.scope.token_object.name.lower()}"
            threading.Thread(target=self._run, args=(watch,), name=name, daemon=True).start()

    def results(self, stop: threading.Event) -> Iterator[SecretChange | None]:
        """All that is told, until `stop`; raises the StoreError that ends a watch."""
        while not stop.is_set():
            try:
                word = self._queue.get(timeout=self._timeouts.poll)
            except queue.Empty:
                continue
            if isinstance(word, StoreError):
                raise word
            yield word

    def stop(self) -> None:
        """Have every watch end."""
        self._stopped.set()
        self._listed.abort()
        for watch in self._watches:
            watch.abort()

    def _run(self, watch: SecretWatch) -> None:
        try:
            refused = self._list(watch)
            self._listed.wait()
            self._follow(watch, refused=refused)
        except threading.BrokenBarrierError:
            pass
        except StoreError as error:
            self._put(error.with_traceback(None))
        except Exception:
            log.exception("watching Secrets failed")
            self._put(StoreUnavailable("a watch failed"))

    def _list(self, watch: SecretWatch) -> bool:
        """Whether it was refused, where that is no reason to give up."""
        with self._lists:
            return self._tolerating_refusal(watch, watch.list_changes(), refused=False)

    def _follow(self, watch: SecretWatch, *, refused: bool) -> None:
        """Go on for as long as anybody wants to know; a failure alone is passed over once."""
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
            self._stopped.wait(pause * (1 + self._chance.random.random()))

    def _tolerating_refusal(
        self, watch: SecretWatch, words: Iterable[SecretChange], *, refused: bool
    ) -> bool:
        """Tell what there is; whether it is refused, which is said when it was not before."""
        try:
            self._put_all(words)
        except StoreRefused as error:
            if not watch.scope.may_be_refused:
                raise
            if not refused:
                log.warning("%s", error)
            return True
        return False

    def _put_all(self, words: Iterable[SecretChange]) -> None:
        for word in words:
            self._put(word)
            if self._stopped.is_set():
                return

    def _put_end_of_lists(self) -> None:
        self._put(None)

    def _put(self, word: SecretChange | StoreError | None) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(word, timeout=self._timeouts.poll)
            except queue.Full:
                continue
            return
