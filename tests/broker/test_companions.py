import asyncio
import threading
from collections.abc import Awaitable, Callable

from csidriver._proto import broker_pb2
from csidriver.broker.companions import Companions
from csidriver.broker.updates import CompanionState
from csidriver.core.names import SourceRef
from tests.broker.fakes import HELLO, FakeCluster, companion

OTHER = SourceRef("bob", "other")
PATIENCE = 10.0  # seconds; only a defect waits for it


class Follower:
    """A subscription: the generations that it was offered, 0 for an absent companion."""

    def __init__(self, companions: Companions, ref: SourceRef) -> None:
        self.offered: list[int] = []
        self._changed = asyncio.Event()
        self.end = companions.follow(ref.companion, self._offer)

    def _offer(self, state: CompanionState) -> None:
        self.offered.append(broker_pb2.Update.FromString(state.payload).companion.generation)
        self._changed.set()

    async def until(self, generation: int) -> None:
        while self.offered[-1:] != [generation]:
            self._changed.clear()
            await self._changed.wait()


def watch(cluster: FakeCluster, follow: Callable[[Companions], Awaitable[None]]) -> None:
    """Run `follow` in the event loop, while the companions are watched in a thread."""

    async def main() -> None:
        companions, stop = Companions(cluster, pause=lambda _: 0.01), threading.Event()
        loop = asyncio.get_running_loop()
        watching = loop.run_in_executor(None, companions.run, loop, stop)
        try:
            assert await asyncio.to_thread(companions.listed.wait, PATIENCE)
            await asyncio.wait_for(follow(companions), PATIENCE)
        finally:
            stop.set()
            await watching

    asyncio.run(main())


def test_each_change_is_offered_without_a_read() -> None:
    cluster = FakeCluster()
    cluster.write(companion(1))

    async def follow(companions: Companions) -> None:
        hello, other = Follower(companions, HELLO), Follower(companions, OTHER)
        ended = Follower(companions, HELLO)
        assert (hello.offered, other.offered, len(companions)) == ([1], [0], 1)
        ended.end()
        cluster.write(companion(2))
        await hello.until(2)
        cluster.write(companion(7, OTHER))
        await other.until(7)
        cluster.delete(HELLO)
        await hello.until(0)
        assert (hello.offered, other.offered, ended.offered) == ([1, 2, 0], [0, 7], [1])
        hello.end()
        other.end()
        assert companions._followers == {}

    watch(cluster, follow)
    assert cluster.reads == ["watch"]


def test_after_an_outage_only_what_has_changed_is_offered() -> None:
    cluster, refs = FakeCluster(), (HELLO, OTHER, SourceRef("carol", "third"))
    for ref in refs:
        cluster.write(companion(1, ref))

    async def follow(companions: Companions) -> None:
        hello, other, third = (Follower(companions, ref) for ref in refs)
        cluster.down = True
        cluster.cut_watches()
        cluster.write(companion(2))
        cluster.delete(OTHER)
        assert (hello.offered, other.offered) == ([1], [1]), "what is known stays"
        cluster.down = False
        await hello.until(2)
        await other.until(0)
        assert third.offered == [1]

    watch(cluster, follow)
