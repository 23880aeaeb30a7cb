import threading

import grpc
from prometheus_client import CollectorRegistry

from csidriver._proto import pluginregistration_pb2 as registration_pb2
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc
from csidriver.adapters.clock import SystemClock
from csidriver.node.plugin import NodePlugin
from tests.node.plugin import Node, eventually


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
