"""A node plugin whose companions come from brokers alone; it has no store."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.names import POD_UID
from tests.broker.fakes import FakeCluster
from tests.broker.running import RunningBroker
from tests.node.companions.nodes import ClientNode
from tests.node.plugin import Node, companion, token
from tests.waiting import until

pytestmark = pytest.mark.mounts

POD = PodRef("alice", "pod-1", "uid-1")


def fresh(value: str, number: int, owner: str = "n-1") -> Companion:
    return companion(token(value), number, namespace_uid=owner)


@pytest.fixture
def broker(cluster: FakeCluster) -> Iterator[RunningBroker]:
    cluster.add_pod(POD, "node-a", "hello-token")
    with RunningBroker(cluster) as running:
        yield running


@pytest.fixture
def plugin(tmp_path: Path, broker: RunningBroker) -> Iterator[Node]:
    with contextlib.closing(Node()) as node:
        node.plugin_store = ClientNode(tmp_path, broker).client  # type: ignore[assignment]
        node.start(publish_wait=2.0)
        yield node


def test_a_later_namespace_gets_no_token_of_an_earlier_one_in_memory(
    plugin: Node, broker: RunningBroker
) -> None:
    """The pod of the earlier namespace was deleted by force and runs on."""
    broker.cluster.write(fresh("at-1", 1))
    plugin.publish(plugin.request())
    del broker.cluster.pods[POD]
    later = broker.cluster.add_pod(PodRef("alice", "pod-1", "uid-2"), "node-a", "hello-token")
    broker.cluster.namespaces["alice"] = "n-9"
    request = plugin.request("v2")
    request.volume_context[POD_UID] = later.uid
    folder = Path(request.target_path.replace("uid-1", "uid-2"))
    folder.parent.mkdir(parents=True)
    request.target_path = str(folder)
    code, text = plugin.refused(request)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "another namespace" in text
    broker.cluster.write(fresh("at-2", 2, "n-9"))

    until(lambda: plugin.publish_async(request).exception(timeout=5) is None)
    assert (folder / "token").read_text(encoding="ascii") == "at-2"
    assert plugin.content() == "at-1"
