"""Random SIGKILLs while volumes come and go and tokens change: in the end all is as it should be.

`STORM_KILLS` says how many, `STORM_SEED` repeats the choices of an earlier run.
"""

import os
import random
import string
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import pytest

from tests.node.killable_plugin import ForkServer, KillablePlugin, killable_plugin
from tests.node.plugin import eventually

pytestmark = pytest.mark.mounts

KILLS = int(os.environ.get("STORM_KILLS", "200"))
SEED = int(os.environ.get("STORM_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
# Seconds from fork to SIGKILL, at most; starting takes a quarter of it.
LIFE = 0.15
# Seconds between two tries of a kubelet in a hurry; the real one waits 500 ms to two minutes.
FIRST_BACKOFF, LONGEST_BACKOFF = 0.005, 0.04
# What a kubelet counts; a storm has a tenth as many of each as kills, at least.
KINDS = ("publish", "unpublish", "rotation", "dead")
LETTERS = string.ascii_letters + string.digits


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    with ForkServer() as fork_server:
        yield fork_server


class Tokens:
    """Brings a new token every few milliseconds and knows them all, in order."""

    def __init__(self, node: KillablePlugin, rng: random.Random) -> None:
        self._node = node
        self._rng = rng
        self.given: dict[str, int] = {}
        self.newest = ""

    def bring(self) -> None:
        """One more; most fit into a page."""
        generation = len(self.given) + 1
        length = self._rng.choice((10, 900, 1300, 3000, 6000, 9000))
        value = f"at-{generation}-" + "".join(self._rng.choices(LETTERS, k=length))
        self.given[value] = generation
        self._node.write_token(value, generation)
        self.newest = value

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(self._rng.uniform(0.002, 0.02)):
            self.bring()


@dataclass(slots=True)
class Pod:
    """One volume, and a container that reads it while `up`; `seen` is its newest generation."""

    volume: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    up: bool = False
    seen: int = 0


class Kubelet:
    """Publishes and unpublishes some pods, one call at a time, until the plugin says OK."""

    def __init__(
        self, node: KillablePlugin, tokens: Tokens, pods: list[Pod], rng: random.Random
    ) -> None:
        self._node = node
        self._tokens = tokens
        self.pods = pods
        self._rng = rng
        self.answers: Counter[str] = Counter()
        self._pause = threading.Event()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            pod = self._rng.choice(self.pods)
            if self._rng.random() < 0.5:
                # The pod may go before its volume has come.
                self.publish(pod, tries=self._rng.choice((1, 3, 1000)))
            else:
                self.unpublish(pod)

    def publish(self, pod: Pod, tries: int = 1000) -> None:
        request = self._node.request(pod.volume)
        if not self._insists("publish", lambda: self._node.publish(request), tries):
            return
        with pod.lock:
            pod.up = True
            self._look(pod)

    def unpublish(self, pod: Pod, tries: int = 1000) -> None:
        with pod.lock:
            pod.up = False
        assert self._insists("unpublish", lambda: self._node.unpublish(pod.volume), tries)
        assert not self._node.target(pod.volume).exists()

    def read(self, stop: threading.Event) -> None:
        """What the containers see, again and again."""
        while not stop.wait(0.001):
            for pod in self.pods:
                with pod.lock:
                    if pod.up:
                        self._look(pod)

    def _look(self, pod: Pod) -> None:
        """A published file holds a whole token, and never an older one than before."""
        seen = self._node.content(pod.volume)
        token = seen.rstrip("\n")
        assert token in self._tokens.given, f"{pod.volume} holds {seen[:30]!r}, {len(seen)} bytes"
        generation = self._tokens.given[token]
        assert generation >= pod.seen
        self.answers["rotation"] += generation > pod.seen
        self.answers["newlines"] += token != seen
        pod.seen = generation

    def _insists(self, name: str, call: Callable[[], None], tries: int) -> bool:
        """Call as often as kubelet would; a dead plugin is no answer."""
        backoff = FIRST_BACKOFF
        for _ in range(tries):
            try:
                call()
            except grpc.RpcError as error:
                code = error.code()
            else:
                self.answers[name] += 1
                return True
            assert code is grpc.StatusCode.UNAVAILABLE
            self.answers["dead"] += 1
            self._pause.wait(backoff)
            backoff = min(LONGEST_BACKOFF, 2 * backoff)
        return False


def kill_and_restart(
    node: KillablePlugin, kubelets: list[Kubelet], rng: random.Random, threads: list[Future[None]]
) -> None:
    """At any instant: while it starts, serves, or does nothing.

    Every other one may live until it serves, and then as long as that took: on a loaded machine
    hardly any would get so far. Where they answer rarely all the same, more of them are killed.
    """
    pause = threading.Event()
    for kills in range(20 * KILLS):
        if kills >= KILLS and all(answers_of(kubelets)[kind] >= KILLS / 10 for kind in KINDS):
            return
        node.launch()
        began, life = time.monotonic(), LIFE
        if kills % 2:
            assert node.wait_until_serving(), f"the plugin has died by itself: {node.log()[-2000:]}"
            life = time.monotonic() - began
        pause.wait(rng.uniform(0, life))
        node.kill()
        ended = [thread.exception() for thread in threads if thread.done()]
        assert not ended, ended
    pytest.fail(f"hardly anything happens: {answers_of(kubelets)}")


def answers_of(kubelets: list[Kubelet]) -> Counter[str]:
    """What has happened so far, and how often."""
    return sum((kubelet.answers.copy() for kubelet in kubelets), Counter[str]())


def call_while_killing(
    node: KillablePlugin, tokens: Tokens, kubelets: list[Kubelet], rng: random.Random
) -> None:
    """The storm itself; raises what any thread of it raises. A plugin serves in the end."""
    stop = threading.Event()
    with ThreadPoolExecutor(1 + 2 * len(kubelets)) as pool:
        runs = [tokens.run, *(k.run for k in kubelets), *(k.read for k in kubelets)]
        threads = [pool.submit(run, stop) for run in runs]
        try:
            kill_and_restart(node, kubelets, rng, threads)
        finally:
            stop.set()
            # A kubelet may be in the middle of a call that needs a plugin.
            node.start()
        for thread in threads:
            thread.result(timeout=30)


def finish_all(kubelets: list[Kubelet], rng: random.Random) -> list[str]:
    """Have every pod one way or the other, with one call each; the volumes that are published."""
    wanted = []
    for kubelet in kubelets:
        for pod in kubelet.pods:
            if rng.random() < 0.5:
                kubelet.publish(pod, tries=1)
                assert pod.up
                wanted.append(pod.volume)
            else:
                kubelet.unpublish(pod, tries=1)
    return wanted


def test_a_storm_of_kills_leaves_nothing_but_what_is_wanted(fork_server: ForkServer) -> None:
    print(f"STORM_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    rng, *others = [random.Random(seed) for seed in range(SEED, SEED + 5)]  # noqa: S311 - repeatable
    with killable_plugin(fork_server) as node:
        tokens = Tokens(node, others.pop())
        tokens.bring()
        kubelets = [
            Kubelet(node, tokens, [Pod(f"v{k}{pod}") for pod in range(4)], others.pop())
            for k in range(3)
        ]
        call_while_killing(node, tokens, kubelets, rng)
        wanted = finish_all(kubelets, rng)
        tokens.bring()
        eventually(lambda: {node.content(v) for v in wanted} <= {tokens.newest}, "the rotation")
        node.assert_only_published(*wanted)
        for volume in wanted:
            node.unpublish(volume)
        node.assert_only_published()
        # The plugin itself has answered no call with an error.
        assert "Volume:" not in node.log()
        assert "Traceback" not in node.log()
        assert sum((kubelet.answers for kubelet in kubelets), Counter[str]()).keys() >= set(KINDS)
