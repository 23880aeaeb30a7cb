import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from csidriver._proto import broker_pb2
from csidriver.broker.companions import Companions
from csidriver.broker.updates import CompanionState
from csidriver.core.names import SourceRef
from tests.broker.fakes import HELLO, FakeCluster, companion

OTHER = SourceRef("bob", "other")
PATIENCE = 10.0  # seconds; only a defect waits for it


class Follower:
    """A subscription: the generations that it was offered, 0 for an absent companion."""

    def __init__(self) -> None:
        self.offered: list[int] = []
        self._changed = threading.Condition()

    def offer(self, state: CompanionState) -> None:
        with self._changed:
            update = broker_pb2.Update.FromString(state.payload)
            self.offered.append(update.companion.generation)
            self._changed.notify_all()

    def until(self, generation: int) -> None:
        with self._changed:
            newest = lambda: self.offered[-1:] == [generation]  # noqa: E731
            assert self._changed.wait_for(newest, PATIENCE), self.offered


class Watched:
    """Companions that are watched, and the event loop of those who follow them."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.companions = Companions(cluster, pause=lambda _: 0.01)
        self.loop = asyncio.new_event_loop()

    def follow(self, ref: SourceRef, follower: Follower) -> Callable[[], None]:
        """Return how to end it, in the loop, too."""
        ends = []

        def begin() -> None:
            ends.append(self.companions.follow(ref.companion, follower.offer))

        self.in_loop(begin)
        return lambda: self.in_loop(ends[0])

    def in_loop(self, call: Callable[[], None]) -> None:
        """Call it in the loop, after all that waits there."""
        done = threading.Event()
        for each in (call, done.set):
            self.loop.call_soon_threadsafe(each)
        assert done.wait(PATIENCE)


@contextmanager
def watching(cluster: FakeCluster) -> Iterator[Watched]:
    watched, stop = Watched(cluster), threading.Event()
    threads = [
        threading.Thread(target=watched.loop.run_forever),
        threading.Thread(target=watched.companions.run, args=(watched.loop, stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield watched
    finally:
        stop.set()
        threads[1].join()
        watched.loop.call_soon_threadsafe(watched.loop.stop)
        threads[0].join()
        watched.loop.close()


def test_each_change_is_offered_without_a_read() -> None:
    cluster, hello, other = FakeCluster(), Follower(), Follower()
    cluster.write(companion(1))
    with watching(cluster) as watched:
        assert watched.companions.listed.wait(PATIENCE)
        watched.follow(HELLO, hello)
        watched.follow(OTHER, other)
        assert (hello.offered, other.offered, len(watched.companions)) == ([1], [0], 1)
        cluster.write(companion(2))
        hello.until(2)
        cluster.write(companion(7, OTHER))
        other.until(7)
        cluster.delete(HELLO)
        hello.until(0)
        assert (hello.offered, other.offered) == ([1, 2, 0], [0, 7])
    assert cluster.reads == ["watch"]


def test_those_who_follow_a_companion_share_its_state_until_they_end() -> None:
    cluster, one, two = FakeCluster(), Follower(), Follower()
    with watching(cluster) as watched:
        assert watched.companions.listed.wait(PATIENCE)
        ends = [watched.follow(HELLO, one), watched.follow(HELLO, two)]
        cluster.write(companion(1))
        two.until(1)
        ends[0]()
        cluster.write(companion(2))
        two.until(2)
        ends[1]()
        assert (one.offered, two.offered) == ([0, 1], [0, 1, 2])
        assert watched.companions._followers == {}


def test_after_an_outage_only_what_has_changed_is_offered() -> None:
    cluster, hello, other, third = FakeCluster(), Follower(), Follower(), Follower()
    refs = HELLO, OTHER, SourceRef("carol", "third")
    for ref in refs:
        cluster.write(companion(1, ref))
    with watching(cluster) as watched:
        assert watched.companions.listed.wait(PATIENCE)
        for ref, follower in zip(refs, (hello, other, third), strict=True):
            watched.follow(ref, follower)
        cluster.down = True
        cluster.cut_watches()
        with cluster._lock:
            cluster._watches.clear()
        cluster.write(companion(2))
        cluster.delete(OTHER)
        assert (hello.offered, other.offered) == ([1], [1]), "what is known stays"
        cluster.down = False
        hello.until(2)
        other.until(0)
        assert third.offered == [1]


def test_the_watch_begins_when_the_backend_answers() -> None:
    cluster, hello = FakeCluster(), Follower()
    cluster.down = True
    cluster.write(companion(1))
    with watching(cluster) as watched:
        watched.follow(HELLO, hello)
        assert not watched.companions.listed.wait(0.05)
        cluster.down = False
        hello.until(1)
        assert watched.companions.listed.wait(PATIENCE)
