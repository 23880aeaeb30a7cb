"""What the node plugin does and says without being asked by kubelet."""

import threading

import grpc
import pytest
from prometheus_client import CollectorRegistry

from csidriver._proto import pluginregistration_pb2 as registration_pb2
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc
from csidriver.adapters.clock import SystemClock
from csidriver.node.plugin import NodePlugin
from tests.node.plugin import NAMESPACE, Node, eventually

pytestmark = pytest.mark.mounts
REMAINING = "oauth2_csi_node_token_remaining_seconds"
LABELS = {"namespace": NAMESPACE, "pod": "pod-1", "volume": "v1"}


def remaining(node: Node) -> float | None:
    return node.registry.get_sample_value(REMAINING, LABELS)


def test_folders_that_belong_to_nothing_are_swept_at_start(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request("kept"))
    node.stop()
    orphan = node.token_folder / ("0" * 32)
    (orphan / "data").mkdir(parents=True)
    (orphan / "data" / "token").write_text("a token of a publish that was cut off")
    node.start()
    eventually(lambda: not orphan.exists(), "the sweep")
    assert node.content("kept") == "at-1"
    node.unpublish("kept")
    assert node.nothing_left()


def test_a_mounted_folder_without_a_record_is_not_swept(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    node.stop()
    (node.folder() / "volume.json").unlink()
    node.start()
    orphan = node.token_folder / ("0" * 32)
    orphan.mkdir()
    node.stop()
    node.start()
    eventually(lambda: not orphan.exists(), "the sweep")
    assert node.content() == "at-1"
    node.unpublish()
    assert node.nothing_left()


def test_the_life_left_in_a_file_is_reported_while_it_is_published(node: Node) -> None:
    node.write_token("at-1")
    assert remaining(node) is None
    node.publish(node.request())
    left = remaining(node)
    assert left is not None
    assert 0 < left <= 3600
    node.clock.ahead = 7200
    left = remaining(node)
    assert left is not None
    assert left < 0
    node.unpublish()
    assert remaining(node) is None


def plugin_of(node: Node) -> NodePlugin:
    return NodePlugin(
        node.settings, node.plugin_store, node.mounts, SystemClock(), CollectorRegistry()
    )


def test_ready_means_registered_and_alive_means_that_the_socket_answers(node: Node) -> None:
    node.stop()
    plugin, stop = plugin_of(node), threading.Event()
    assert any("does not answer" in problem for problem in plugin.alive())
    thread = threading.Thread(target=plugin.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: not plugin.alive(), "the socket")
        assert plugin.ready() == ["kubelet has not registered the plugin"]
        with grpc.insecure_channel(f"unix:{node.registration}") as channel:
            registration_pb2_grpc.RegistrationStub(channel).NotifyRegistrationStatus(
                registration_pb2.RegistrationStatus(plugin_registered=True), timeout=10
            )
        assert plugin.ready() == []
        (node.token_folder / ".probe").mkdir()
        assert any("cannot be written" in problem for problem in plugin.ready())
        (node.token_folder / ".probe").rmdir()
    finally:
        stop.set()
        thread.join()
    assert any("does not answer" in problem for problem in plugin.alive())
