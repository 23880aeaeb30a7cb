import time
from typing import Any

import grpc
import grpc_testing
import pytest

from csidriver._proto import pluginregistration_pb2 as registration_pb2
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc
from csidriver.adapters.mounts import Mounts
from csidriver.demo.kubelet import Kubelet
from csidriver.errors import DriverError
from csidriver.node.registration import RegistrationService
from tests.node.plugin import NAMESPACE, Node


def test_kubelet_registers_the_plugin(node: Node) -> None:
    kubelet = Kubelet(node.kubelet_dir, Mounts(), NAMESPACE)
    assert kubelet.register(node._stop, 5, lambda: None) == "oauth2.csi.cern.ch"
    node.stop()


def test_a_plugin_that_kubelet_refuses_ends_with_an_error(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    text = "two of a name\n2026-01-01 all is well" + "!" * 100_000
    status = registration_pb2.RegistrationStatus(plugin_registered=False, error=text)
    with grpc.insecure_channel(f"unix:{node.registration}") as channel:
        registration_pb2_grpc.RegistrationStub(channel).NotifyRegistrationStatus(status, timeout=5)
    with pytest.raises(DriverError, match="refused"):
        node.join()
    assert not node.registration.exists()
    assert not node.socket.exists()
    (line,) = [m for m in caplog.messages if "two of a name" in m]
    assert line.isprintable()
    assert len(line) < 4096


@pytest.mark.parametrize(("accepted", "refusals"), [(True, 0), (False, 1)])
def test_registration_answers_kubelet(*, accepted: bool, refusals: int) -> None:
    calls: list[None] = []
    servicer = RegistrationService("/host/csi.sock", lambda: calls.append(None))
    service = registration_pb2.DESCRIPTOR.services_by_name["Registration"]
    server = grpc_testing.server_from_dictionary(
        {service: servicer}, grpc_testing.strict_fake_time(time.time())
    )

    def invoke(method: str, request: Any) -> Any:
        descriptor = service.methods_by_name[method]
        call = server.invoke_unary_unary(descriptor, (), request, None)
        reply, _, code, _ = call.termination()
        assert code is grpc.StatusCode.OK
        return reply

    info = invoke("GetInfo", registration_pb2.InfoRequest())
    assert info == registration_pb2.PluginInfo(
        type="CSIPlugin",
        name="oauth2.csi.cern.ch",
        endpoint="/host/csi.sock",
        supported_versions=["1.0.0"],
    )
    status = registration_pb2.RegistrationStatus(plugin_registered=accepted, error="")
    invoke("NotifyRegistrationStatus", status)
    assert len(calls) == refusals
