"""Random SIGKILLs while volumes come and go and tokens change; in the end all is right."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest

from tests.node.killable_plugin import ForkServer, KillablePlugin
from tests.waiting import until

pytestmark = pytest.mark.mounts

KILLS = 60
# Seconds from fork to SIGKILL, at most; starting takes a quarter of it.
LIFE = 0.15
# Seconds between two tries of a kubelet in a hurry; the real one waits 500 ms to two minutes.
BACKOFF = 0.02


class Storm:
    """Brings tokens; publishes and unpublishes volumes until the plugin says OK, and reads them."""

    def __init__(self, node: KillablePlugin) -> None:
        self.node = node
        self.rng = random.Random(0)  # noqa: S311 - repeatable
        # Of a volume that is up, a container has seen the newest generation that is noted.
        self.seen: dict[str, int] = {}
        self.locks = {f"v{number}": threading.Lock() for number in range(12)}
        self.given: dict[str, int] = {}
        self._pause = threading.Event()

    def bring(self) -> str:
        """Bring one more token; most fit into a page."""
        generation = len(self.given) + 1
        value = f"at-{generation}-".ljust(self.rng.choice((10, 900, 1300, 3000, 9000)), "x")
        self.given[value] = generation
        self.node.write_token(value, generation)
        return value

    def bring_tokens(self, stop: threading.Event) -> None:
        """Bring tokens, and look at what the containers see."""
        while not stop.wait(self.rng.uniform(0.002, 0.02)):
            self.bring()
            for volume, lock in self.locks.items():
                with lock:
                    if volume in self.seen:
                        self._look(volume)

    def call(self, stop: threading.Event, volumes: list[str]) -> None:
        while not stop.is_set():
            volume = self.rng.choice(volumes)
            if self.rng.random() < 0.5:
                # The pod may go before its volume has come.
                self.publish(volume, tries=self.rng.choice((1, 3, 1000)))
            else:
                self.unpublish(volume)

    def publish(self, volume: str, tries: int = 1000) -> None:
        request = self.node.request(volume)
        if self._insists(lambda: self.node.publish(request), tries):
            with self.locks[volume]:
                self._look(volume)

    def unpublish(self, volume: str, tries: int = 1000) -> None:
        with self.locks[volume]:
            self.seen.pop(volume, None)
        assert self._insists(lambda: self.node.unpublish(volume), tries)
        assert not self.node.target(volume).exists()

    def _look(self, volume: str) -> None:
        """A published file holds a whole token, and never an older one than before."""
        content = self.node.content(volume)
        generation = self.given.get(content.rstrip("\n"))
        assert generation, f"{volume} holds {content[:30]!r}, {len(content)} bytes"
        assert generation >= self.seen.get(volume, 0)
        self.seen[volume] = generation

    def _insists(self, call: Callable[[], None], tries: int) -> bool:
        """Call as often as kubelet would; a dead plugin is no answer."""
        for _ in range(tries):
            try:
                call()
            except grpc.RpcError as error:
                code = error.code()
            else:
                return True
            assert code is grpc.StatusCode.UNAVAILABLE
            self._pause.wait(BACKOFF)
        return False

    def rage(self) -> None:
        """Call, read, rotate and kill; raise what any thread raises. A plugin serves in the end."""
        stop, volumes = threading.Event(), list(self.locks)
        with ThreadPoolExecutor(4) as pool:
            threads = [pool.submit(self.call, stop, volumes[first::3]) for first in range(3)]
            threads.append(pool.submit(self.bring_tokens, stop))
            try:
                for kills in range(KILLS):
                    self.node.launch()
                    began, life = time.monotonic(), LIFE
                    if kills % 2:
                        # On a loaded machine hardly any would get so far in the same time.
                        assert self.node.wait_until_serving(), self.node.log()[-2000:]
                        life = time.monotonic() - began
                    self._pause.wait(self.rng.uniform(0, life))
                    self.node.kill()
            finally:
                stop.set()
                # A kubelet may be in the middle of a call that needs a plugin.
                self.node.start()
            for thread in threads:
                thread.result(timeout=30)


def test_a_storm_of_kills_leaves_nothing_but_what_is_wanted(fork_server: ForkServer) -> None:
    with closing(KillablePlugin(fork_server)) as node:
        storm = Storm(node)
        storm.bring()
        storm.rage()
        # One call each puts every pod one way or the other.
        wanted = list(storm.locks)[::2]
        for volume in storm.locks:
            (storm.publish if volume in wanted else storm.unpublish)(volume, tries=1)
        newest = storm.bring()
        until(lambda: {node.content(v) for v in wanted} == {newest}, "the rotation")
        node.assert_only_published(*wanted)
        for volume in wanted:
            node.unpublish(volume)
        node.assert_only_published()
        # The plugin itself has answered no call with an error.
        assert "Volume:" not in node.log()
        assert "Traceback" not in node.log()
