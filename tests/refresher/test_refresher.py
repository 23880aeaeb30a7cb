import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csidriver.adapters.clock import SystemClock
from csidriver.config import LeaseTimings
from csidriver.core.names import DRIVER_NAMESPACE, PUBLIC_ISSUERS, SourceRef
from csidriver.core.oauth.public_issuers import ISSUERS_JSON
from csidriver.core.refresh.schedule import RequestTimeouts
from csidriver.core.status import Status
from csidriver.refresher.controller import Controller
from csidriver.refresher.effect_interpreter import Interpreter
from csidriver.refresher.leader_election import LeaderElector
from csidriver.refresher.refresher import Refresher
from csidriver.refresher.spool import SpoolLock
from tests.issuer.faults import Hold
from tests.refresher.bench import NAMESPACE, Bench, commits
from tests.waiting import TIMEOUT, until

TERM = LeaseTimings(2.0, 0.5)
# Seconds: the time of a token request, and less than a silent server is given.
BRIEF, SOON = 1.0, 6.0


class FakeLock:
    def __init__(self, *, free: bool) -> None:
        self.free = free

    def acquire(self) -> bool:
        return self.free

    def release(self) -> None:
        pass


class Replica:
    """A refresher with a spool of its own, over the store of a bench."""

    def __init__(self, bench: Bench, name: str, *, leads: bool = True) -> None:
        self.spool = bench.spool.with_name(name)
        self.lock = FakeLock(free=leads)
        self.spool_lock = SpoolLock(self.spool)
        self.spool_lock.folder_id()
        self.stop = threading.Event()
        elector = self.elector = LeaderElector(self.lock, TERM, SystemClock())
        ports, context = bench.ports(elector.is_leader, self.spool), bench.context(name)

        def new_controller() -> Controller:
            interpreter = Interpreter(ports)
            return Controller(bench.backend, interpreter, context, bench.clock, ports.metrics)

        self.refresher = Refresher(elector, self.spool_lock, ports, context, new_controller)
        self.thread = threading.Thread(target=self.refresher.run, args=(self.stop,))
        self.thread.start()

    def replies(self) -> int:
        entries = [json.loads(path.read_text("utf-8")) for path in self.spool.glob("*.json")]
        return sum(entry["reply"] is not None for entry in entries)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


@pytest.fixture
def replica(bench: Bench) -> Iterator[Callable[..., Replica]]:
    with contextlib.ExitStack() as replicas:

        def start(name: str, *, leads: bool = True) -> Replica:
            started = Replica(bench, name, leads=leads)
            replicas.callback(started.end)
            return started

        yield start


def test_only_the_leader_publishes_the_issuers(
    bench: Bench, replica: Callable[..., Replica]
) -> None:
    replica("one", leads=False)
    leader = replica("two")

    def published() -> object:
        return bench.backend.get_config_map(DRIVER_NAMESPACE, PUBLIC_ISSUERS)

    until(published)
    leader.end()
    bench.backend.patch_config_map(DRIVER_NAMESPACE, PUBLIC_ISSUERS, {ISSUERS_JSON: "{}"})
    third = replica("three")
    until(lambda: published() != {ISSUERS_JSON: "{}"})
    third.end()


def test_a_standby_stores_what_it_received_as_the_leader(
    bench: Bench, replica: Callable[..., Replica]
) -> None:
    """The leader's wait for the intent of the other would last for longer than this test."""
    first, second = replica("first"), replica("second", leads=False)
    bench.backend.broken = commits
    bench.apply("hello", bench.issuer.seed("my-app"))
    until(first.replies)
    first.lock.free, second.lock.free = False, True
    until(lambda: second.elector.is_leader() and not first.elector.is_leader())
    assert not bench.refreshed("hello")
    bench.backend.broken = lambda _base, _patch: False
    until(lambda: bench.refreshed("hello"))
    assert bench.outcomes() == ["rotated"]
    until(lambda: not list(first.spool.glob("*.json")), "the standby clears its spool")


@pytest.mark.parametrize("end", ["stop", "lost leadership"])
def test_a_late_reply_is_stored_by_a_process_that_works_no_more(
    bench: Bench, replica: Callable[..., Replica], end: str
) -> None:
    bench.timeouts = RequestTimeouts(BRIEF)
    released = threading.Event()
    bench.issuer.add_faults(Hold(released))
    pod = replica("pod")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/token"
        bench.configure(bench.entry(), {"name": "silent", "tokenEndpoint": url, "internal": True})
        bench.apply("hello", bench.issuer.seed("my-app"))
        bench.apply("other", bench.issuer.seed("my-app"), issuer="silent")
        until(lambda: bench.status("hello") == bench.status("other") == "Uncertain")
        if end == "stop":
            pod.stop.set()
        else:
            pod.lock.free = False
            until(lambda: not pod.elector.is_leader())
        released.set()
        until(lambda: bench.grant("hello").status is Status.READY, timeout=SOON)
        assert pod.thread.is_alive(), "it listens for the other reply"
    [presented] = bench.issuer.presentations()
    assert bench.grant("hello").live_hash == presented.successor_hash


def test_a_grant_that_cannot_be_read_keeps_no_other_reply_from_being_stored(
    bench: Bench, replica: Callable[..., Replica]
) -> None:
    pod = replica("pod")
    bench.backend.broken = commits
    names = ("gone", "damaged", "hello")
    for name in names:
        bench.apply(name, bench.issuer.seed("my-app"))
    until(lambda: pod.replies() == len(names))
    pod.lock.free = False
    until(lambda: not pod.elector.is_leader())
    bench.store.remove("Secret", DRIVER_NAMESPACE, SourceRef(NAMESPACE, "gone").grant)
    bench.damage_grant("damaged")
    bench.backend.broken = lambda _base, _patch: False
    until(lambda: bench.grant("hello").status is Status.READY)
