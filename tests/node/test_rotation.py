import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from csidriver.errors import TokenFileFailed
from csidriver.node.metrics import NodeMetrics
from csidriver.node.rotation import Rotation
from csidriver.node.tokenfile import RewriteResult
from csidriver.node.volume_manager import VolumeManager
from tests.node.plugin import Node
from tests.waiting import until

REWRITES = "oauth2_csi_node_rewrites_total"


class File:
    """A file whose rewrites end as scripted; the last word is repeated."""

    def __init__(self, *script: RewriteResult | Exception, remaining: float = 3600.0) -> None:
        self.script = list(script)
        self.leased: list[bool] = []
        self._remaining = remaining

    def rewrite(self, *, leased: bool) -> tuple[RewriteResult, float]:
        self.leased.append(leased)
        word = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(word, Exception):
            raise word
        return (word if leased else RewriteResult.UNLEASED), 0.0

    def remaining(self) -> float:
        return self._remaining


class VirtualTime(threading.Condition):
    """A clock, and what a rotation waits on: seconds pass at once, and only while it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 1000.0
        self.meanwhile: Callable[[], object] = lambda: None

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None:
            return super().wait()
        self.meanwhile()
        self.seconds += timeout
        return False


class Running:
    """A rotation at work on `files`."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.tried: list[str] = []
        self.registry = CollectorRegistry()
        volumes = cast("VolumeManager", self)
        self.time = VirtualTime()
        self.rotation = Rotation(volumes, NodeMetrics(self.registry), self.time)
        self.rotation._wake = self.time

    def get(self, volume_id: str) -> File | None:
        self.tried.append(volume_id)
        return self.files.get(volume_id)

    def count(self, outcome: str) -> float:
        return self.registry.get_sample_value(REWRITES, {"outcome": outcome}) or 0.0

    def failures(self) -> float:
        return self.registry.get_sample_value("oauth2_csi_node_rewrite_failures_total") or 0.0


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    stop = threading.Event()
    thread = threading.Thread(target=running.rotation.run, args=(stop,))
    thread.start()
    yield running
    stop.set()
    running.rotation.wake()
    thread.join(10)
    assert not thread.is_alive()


def test_a_busy_file_is_written_without_a_lease_when_patience_ends(running: Running) -> None:
    busy = running.files["busy"] = File(RewriteResult.BUSY, remaining=1.0)
    running.files["free"] = File(RewriteResult.LEASED)
    running.rotation.request(["busy", "free"])
    until(lambda: running.count("unleased") == 1, "the rewrite")
    assert running.count("leased") == 1
    assert running.tried[:3] == ["busy", "free", "busy"], "the other file waits for nobody"
    assert busy.leased == [True] * (len(busy.leased) - 1) + [False]
    # Half a second at 1 ms, later at a tenth of the time lost: no busy loop, and no long sleep.
    assert 40 <= len(busy.leased) <= 60


def test_a_request_does_not_renew_the_patience_with_a_busy_file(running: Running) -> None:
    running.files["v1"] = File(RewriteResult.BUSY, remaining=1.0)
    running.time.meanwhile = lambda: running.rotation.request(["v1"])
    running.rotation.request(["v1"])
    until(lambda: running.count("unleased") == 1, "the rewrite")


@pytest.mark.parametrize("error", [TokenFileFailed("no"), RuntimeError("a bug")])
def test_a_failed_rewrite_is_tried_again_and_harms_no_other(
    running: Running, error: Exception
) -> None:
    running.files["bad"] = File(error, RewriteResult.LEASED)
    running.files["good"] = File(RewriteResult.UNCHANGED)
    running.rotation.request(["gone", "bad", "good"])
    until(lambda: running.count("unchanged") == 1, "a look at the other file")
    until(lambda: running.count("leased") == 1, "the rewrite")
    assert running.failures() == 1


# Takes a read lease, and takes it again whenever a writer breaks it.
LEASE_HOLDER = """
import contextlib, fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
print("held", flush=True)
while signal.sigwait([signal.SIGIO]):
    print("broken", flush=True)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    with contextlib.suppress(BlockingIOError):  # the writer was faster
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
"""


@pytest.mark.mounts
def test_a_read_lease_that_is_taken_again_and_again_does_not_freeze_the_file(node: Node) -> None:
    node.write_token("at-1", left=4.0)
    node.publish(node.request(attributes={"minValidity": "1"}))
    command = [sys.executable, "-c", LEASE_HOLDER, str(node.file())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:  # noqa: S603
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            node.rotate("at-2")
            assert holder.stdout.readline() == "broken\n"
        finally:
            holder.kill()
