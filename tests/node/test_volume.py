import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import SystemClock
from csidriver.adapters.mounts import Mounts
from csidriver.node.companion_watcher import CompanionWatcher
from csidriver.node.metrics import NodeMetrics
from csidriver.node.volume import Volume
from tests.node.plugin import SOURCE, Node, companion, token
from tests.node.test_companion_watcher import FakeCompanions
from tests.node.test_volume_record import RECORD
from tests.waiting import until

pytestmark = pytest.mark.mounts


class Interrupted(SystemClock):
    """A clock at whose next look something happens, if it can."""

    def __init__(self) -> None:
        self.happens = threading.Thread(target=lambda: None)

    def now(self) -> float:
        thread, self.happens = self.happens, threading.Thread(target=lambda: None)
        thread.start()
        thread.join(0.3)
        return time.time()


def test_of_two_rewrites_at_once_the_newer_token_stays(tmp_path: Path) -> None:
    companions, clock = FakeCompanions(), Interrupted()
    metrics = NodeMetrics(CollectorRegistry())
    watcher = CompanionWatcher(companions, lambda _: None, SystemClock(), metrics)
    plain = replace(RECORD.attributes, owner=0, group=0)
    volume = Volume(replace(RECORD, attributes=plain), tmp_path, watcher, clock)
    volume.file.parent.mkdir()
    watcher.follow(SOURCE, volume.record.pod, "v1")
    companions.say(companion(token("at-1"), 1))
    volume.write_initial(token("at-0"), bound=False)

    def newer() -> None:
        companions.say(companion(token("at-2"), 2))
        volume.rewrite(leased=True)

    clock.happens = interrupt = threading.Thread(target=newer)
    volume.rewrite(leased=True)
    interrupt.join(10)
    assert b"at-2" in volume.file.read_bytes()


class Interrupting(Mounts):
    """Mounts, with something that happens just before a volume appears."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node

    def bind(self, source: Path, target: Path) -> None:
        if target == self._node.target("v2"):
            self._node.write_token("at-2", 2)
            until(lambda: self._node.content("v1") == "at-2", "rotation of the other volume")
        super().bind(source, target)


def test_a_token_that_comes_during_a_publish_is_not_missed(stopped_node: Node) -> None:
    stopped_node.mounts = Interrupting(stopped_node)
    stopped_node.start()
    stopped_node.write_token("at-1")
    stopped_node.publish(stopped_node.request("v1"))
    stopped_node.publish(stopped_node.request("v2"))
    assert stopped_node.content("v2") == "at-2"
