"""A node plugin whose companions come from brokers alone; it has no store."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.names import POD_UID
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSecret, StoreRefused, StoreUnavailable
from csidriver.node.companions import broker_companions
from csidriver.node.companions.broker_companions import BrokerCompanions
from csidriver.node.plugin import NodePlugin
from tests.broker.conftest import DB, WEB
from tests.broker.fakes import HELLO, FakeCluster
from tests.broker.fakes import companion as generation
from tests.broker.running import RunningBroker
from tests.node.companions.nodes import ClientNode, States, eventually, target
from tests.node.plugin import Node, companion, token

POD = PodRef("alice", "pod-1", "uid-1")


class BrokeredNode(Node):
    """The node of all tests, with a client in place of the store; starts once."""

    def __init__(self, client: ClientNode) -> None:
        super().__init__()
        self.plugin_store = client.client  # type: ignore[assignment]


@pytest.fixture
def broker(cluster: FakeCluster) -> Iterator[RunningBroker]:
    cluster.add_pod(POD, "node-a", "hello-token", templateConfigMapName="page")
    with RunningBroker(cluster) as running:
        yield running


@pytest.fixture
def client(tmp_path: Path, broker: RunningBroker) -> ClientNode:
    return ClientNode(tmp_path, broker)


@pytest.fixture
def plugin(client: ClientNode) -> Iterator[Node]:
    with contextlib.closing(BrokeredNode(client)) as node:
        node.start(publish_wait=2.0)
        yield node


def fresh(value: str, number: int, owner: str = "n-1") -> Companion:
    return companion(token(value), number, namespace_uid=owner)


@pytest.mark.mounts
def test_a_volume_is_published_rotates_and_leaves_nothing(
    plugin: Node, broker: RunningBroker
) -> None:
    broker.cluster.write(fresh("at-1", 1))
    plugin.publish(plugin.request())
    assert plugin.content() == "at-1"
    broker.cluster.write(fresh("at-2", 2))
    eventually(lambda: plugin.content() == "at-2")
    plugin.unpublish()
    assert plugin.nothing_left()
    eventually(lambda: broker.metric("subscriptions") == 0)


@pytest.mark.mounts
def test_a_pod_that_is_denied_hears_the_reason(plugin: Node, broker: RunningBroker) -> None:
    broker.cluster.write(fresh("at-1", 1))
    broker.cluster.pods[POD]["spec"]["nodeName"] = "node-b"
    code, text = plugin.refused(plugin.request())
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "pod alice/pod-1 is not bound to node node-a (other_node)" in text


@pytest.mark.mounts
def test_without_a_broker_what_is_known_is_published_and_the_rest_names_it(
    plugin: Node, client: ClientNode, broker: RunningBroker
) -> None:
    broker.cluster.write(fresh("at-1", 1))
    plugin.publish(plugin.request())
    client.address.targets.remove(target(broker))
    broker.stop.set()
    eventually(lambda: client.client._error is not None)
    plugin.publish(plugin.request("v2"))
    assert plugin.content("v2") == "at-1"
    code, text = plugin.refused(plugin.request("v3", {"secretName": "other"}))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "no broker of brokers answers" in text
    assert plugin.content() == "at-1"


@pytest.mark.mounts
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

    def publish() -> bool:
        with contextlib.suppress(grpc.RpcError):
            plugin.publish(request)
            return True
        return False

    eventually(publish)
    assert (folder / "token").read_text(encoding="ascii") == "at-2"
    assert plugin.content() == "at-1"


@pytest.mark.mounts
def test_a_template_comes_through_the_broker(plugin: Node, broker: RunningBroker) -> None:
    broker.cluster.write(fresh("at-1", 1))
    attributes = {"templateConfigMapName": "page"}
    code, text = plugin.refused(plugin.request("v1", attributes))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "ConfigMap alice/page does not exist" in text
    broker.cluster.config_maps["alice", "page"] = {"template": "<$(ACCESS_TOKEN)>"}
    plugin.publish(plugin.request("v1", attributes))
    assert plugin.content() == "<at-1>"


@pytest.mark.mounts
def test_a_plugin_stops_promptly_without_any_broker(tmp_path: Path) -> None:
    with contextlib.closing(BrokeredNode(ClientNode(tmp_path))) as node:
        node.start(publish_wait=0.05)
        code, _ = node.refused(node.request())
        assert code is grpc.StatusCode.UNAVAILABLE
        assert isinstance(node.plugin, NodePlugin)
        assert node.plugin.ready() != []
        node.stop()


@pytest.mark.mounts
def test_states_of_a_source_rewrite_its_files_once(plugin: Node, broker: RunningBroker) -> None:
    other = broker.cluster.add_pod(PodRef("alice", "pod-2", "uid-2"), "node-a", "hello-token")
    broker.cluster.write(fresh("at-1", 1))
    plugin.publish(plugin.request())
    changes: list[frozenset[str]] = []
    assert isinstance(plugin.plugin, NodePlugin)
    watcher = plugin.plugin._watcher
    watcher.follow(HELLO, other, "of-another-pod")
    eventually(lambda: broker.metric("subscriptions") == 2)
    watcher._on_change = changes.append
    sent = broker.metric("updates_total") or 0.0
    broker.cluster.write(fresh("at-2", 2))
    eventually(lambda: broker.metric("updates_total") == sent + 2)
    watcher.unfollow(HELLO, "of-another-pod")
    broker.cluster.write(fresh("at-3", 3))
    eventually(lambda: len(changes) >= 2)
    assert changes == [{"csi-v1", "of-another-pod"}, {"csi-v1"}]


def test_another_pods_refusal_takes_no_token_away(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    source, states = BrokerCompanions(node.client), States()
    end = source.follow(HELLO, WEB, states.take)
    states.generation(1)
    end_denied = source.follow(HELLO, PodRef("alice", "none", "u-0"), states.take)
    states.until(lambda state: isinstance(state, StoreRefused))
    cluster.write(generation(2))
    states.generation(2)
    end_denied()
    cluster.write(generation(3))
    states.generation(3)
    end()
    eventually(lambda: [b.metric("subscriptions") for b in brokers] == [0, 0])


def test_a_pod_whose_companion_has_come_is_not_asked_about_again(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    source, states = BrokerCompanions(node.client), States()
    cluster.write(generation(2, namespace_uid="n-1"))
    end = source.follow(HELLO, WEB, states.take)
    states.generation(2)
    eventually(lambda: [b.metric("subscriptions") for b in brokers] == [1, 1])
    cluster.reads.clear()
    assert source.get_namespace_uid(WEB, "hello-token") == "n-1"
    assert cluster.reads == []
    end()
    assert source.get_namespace_uid(WEB, "hello-token") == "n-1"
    assert "cached pod" in cluster.reads


def test_what_a_publish_reads_ends_with_its_answer(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    source = BrokerCompanions(node.client)
    cluster.write(generation(2, namespace_uid="n-1"))
    eventually(lambda: source.get_namespace_uid(WEB, "hello-token") == "n-1")
    with pytest.raises(StoreRefused, match="other_node"):
        source.get_namespace_uid(DB, "secret-of-b")
    with pytest.raises(StoreRefused, match="not_in_pod"):
        source.get_config_map(WEB, "other")
    cluster.namespaces["alice"] = "n-9"
    with pytest.raises(InvalidSecret, match="another namespace"):
        source.get_namespace_uid(WEB, "hello-token")
    cluster.down = True
    assert source.get_namespace_uid(WEB, "hello-token") is None
    with pytest.raises(StoreUnavailable):
        source.get_config_map(WEB, "page")
    assert node.client._subscriptions == {}
    eventually(lambda: [b.metric("subscriptions") for b in brokers] == [0, 0])


def test_a_broker_that_does_not_answer_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_companions, "READ_SECONDS", 0.05)
    silent = BrokerCompanions(ClientNode(tmp_path).client)
    assert silent.get_namespace_uid(WEB, "hello-token") is None
    with pytest.raises(StoreUnavailable, match="no broker answered"):
        silent.get_config_map(WEB, "page")


def test_no_state_shows_a_token(node: ClientNode) -> None:
    source, states = BrokerCompanions(node.client), States()
    end = source.follow(HELLO, WEB, states.take)
    token_ = states.generation(1).token
    end()
    assert token_ is not None
    assert isinstance(token_.value, Sensitive)
    assert token_.value.reveal() not in repr(states.states)
