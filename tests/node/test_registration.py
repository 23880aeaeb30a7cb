from typing import Any

import grpc
import grpc_testing
import pytest

from csidriver._proto import pluginregistration_pb2 as registration_pb2
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc
from csidriver.adapters.mounts import Mounts
from csidriver.demo.kubelet import Kubelet
from csidriver.node.registration import RegistrationService
from tests.node.killable_plugin import CHANNEL
from tests.node.plugin import NAMESPACE, Node, _inode
from tests.waiting import until

DRIVER = "oauth2.csi.cern.ch"


def register(node: Node) -> str:
    return Kubelet(node.kubelet_dir, Mounts(), NAMESPACE).register(node._stop, 5, lambda: None)


def refuse(node: Node, reason: str) -> None:
    """Call the plugin as a kubelet that could not register it."""
    status = registration_pb2.RegistrationStatus(plugin_registered=False, error=reason)
    with grpc.insecure_channel(f"unix:{node.registration}", options=CHANNEL) as channel:
        registration_pb2_grpc.RegistrationStub(channel).NotifyRegistrationStatus(status, timeout=5)


def test_kubelet_registers_the_plugin(node: Node) -> None:
    assert register(node) == DRIVER
    assert node.plugin.ready() == []
    assert node.metric("oauth2_csi_node_registered") == 1


def test_a_plugin_that_kubelet_refuses_goes_on_and_asks_again(
    published: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Also a kubelet that has given up notices a new socket."""
    register(published)
    before = _inode(published.registration)
    refuse(published, "error updating Node object")
    (problem,) = published.plugin.ready()
    assert problem == "kubelet refuses to register the plugin: 'error updating Node object'"
    assert problem in caplog.messages
    assert published.metric("oauth2_csi_node_registered") == 0
    until(lambda: _inode(published.registration) not in (None, before), "a socket")
    assert published.plugin.alive() == []
    assert published.plugin.ready() == [problem]
    published.rotate("at-2")
    published.publish(published.request())
    assert register(published) == DRIVER
    assert published.plugin.ready() == []
    assert published.metric("oauth2_csi_node_registered") == 1


def test_a_new_socket_keeps_the_reason_of_a_refusal_but_no_registration() -> None:
    states: list[bool] = []
    servicer = RegistrationService("/host/csi.sock", states.append)
    service = registration_pb2.DESCRIPTOR.services_by_name["Registration"]
    server = grpc_testing.server_from_dictionary(
        {service: servicer}, grpc_testing.strict_fake_time(0.0)
    )

    def call(method: str, request: Any) -> Any:
        rpc = server.invoke_unary_unary(service.methods_by_name[method], (), request, None)
        reply, _, code, _ = rpc.termination()
        assert code is grpc.StatusCode.OK
        return reply

    assert call("GetInfo", registration_pb2.InfoRequest()) == registration_pb2.PluginInfo(
        type="CSIPlugin", name=DRIVER, endpoint="/host/csi.sock", supported_versions=["1.0.0"]
    )
    (unregistered,) = servicer.problems
    status = registration_pb2.RegistrationStatus
    call("NotifyRegistrationStatus", status(plugin_registered=True))
    assert servicer.problems == []
    servicer.reset()
    assert servicer.problems == [unregistered]
    call("NotifyRegistrationStatus", status(error="no room"))
    refused = [servicer.refused]
    servicer.reset()
    assert "no room" in servicer.problems[0]
    assert [*refused, servicer.refused] == [True, False]
    assert states == [True, False, False]
