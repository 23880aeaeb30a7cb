import threading
from collections.abc import Iterator
from contextlib import contextmanager

from csidriver._proto import broker_pb2
from csidriver.broker.companion_feed import CompanionFeed
from csidriver.broker.updates import CompanionState
from csidriver.core.names import SourceRef
from tests.broker.fakes import HELLO, TOKENS, FakeCluster, companion

OTHER = SourceRef("bob", "other")


class Fed:
    """What a feed has brought."""

    def __init__(self) -> None:
        self.states: dict[str, CompanionState | None] = {}
        self.puts = 0
        self._changed = threading.Condition()

    def put(self, name: str, state: CompanionState | None) -> None:
        with self._changed:
            self.states[name] = state
            self.puts += 1
            self._changed.notify_all()

    def generation(self, ref: SourceRef) -> int | None:
        state = self.states.get(ref.companion)
        if state is None:
            return None
        return broker_pb2.Update.FromString(state.payload).companion.generation

    def until(self, ref: SourceRef, generation: int | None) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.generation(ref) == generation, 10)


@contextmanager
def feeding(cluster: FakeCluster) -> Iterator[tuple[CompanionFeed, Fed]]:
    feed, fed, stop = CompanionFeed(cluster, TOKENS, pause=lambda _: 0.01), Fed(), threading.Event()
    thread = threading.Thread(target=feed.run, args=(fed.put, stop))
    thread.start()
    try:
        yield feed, fed
    finally:
        stop.set()
        thread.join()


def test_existing_companions_come_from_one_list() -> None:
    cluster = FakeCluster()
    cluster.write(companion(2))
    cluster.write(companion(5, OTHER))
    with feeding(cluster) as (feed, fed):
        assert feed.listed.wait(10)
        assert (fed.generation(HELLO), fed.generation(OTHER)) == (2, 5)
    assert cluster.reads == ["secrets", "watch"]


def test_each_change_is_read_once() -> None:
    cluster = FakeCluster()
    cluster.write(companion(1))
    with feeding(cluster) as (feed, fed):
        assert feed.listed.wait(10)
        cluster.write(companion(2))
        fed.until(HELLO, 2)
        cluster.write(companion(7, OTHER))
        fed.until(OTHER, 7)
        cluster.delete(HELLO)
        fed.until(HELLO, None)
    assert cluster.reads == ["secrets", "watch", "secret", "secret"]


def test_after_an_outage_only_what_has_changed_is_read() -> None:
    cluster = FakeCluster()
    for ref in (HELLO, OTHER, SourceRef("carol", "third")):
        cluster.write(companion(1, ref))
    with feeding(cluster) as (feed, fed):
        assert feed.listed.wait(10)
        cluster.down = True
        cluster.cut_watches()
        puts = fed.puts
        with cluster._lock:
            cluster._watches.clear()
        cluster.write(companion(2))
        cluster.delete(OTHER)
        assert (fed.generation(HELLO), fed.puts) == (1, puts), "what is known stays"
        cluster.reads.clear()
        cluster.down = False
        fed.until(HELLO, 2)
        fed.until(OTHER, None)
        assert cluster.reads.count("secret") == 1
        assert "secrets" not in cluster.reads


def test_a_feed_begins_when_the_backend_answers() -> None:
    cluster = FakeCluster()
    cluster.down = True
    cluster.write(companion(1))
    with feeding(cluster) as (feed, fed):
        assert not feed.listed.wait(0.05)
        cluster.down = False
        fed.until(HELLO, 1)
        assert feed.listed.wait(10)
