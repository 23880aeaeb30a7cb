import pytest

from csidriver._proto import csi_pb2, csi_pb2_grpc
from tests.node.plugin import Node

pytestmark = pytest.mark.mounts


def test_identity_tells_name_and_version_and_is_ready(shared_node: Node) -> None:
    identity = csi_pb2_grpc.IdentityStub(shared_node._channel)
    info = identity.GetPluginInfo(csi_pb2.GetPluginInfoRequest(), timeout=5)
    assert info.name == "oauth2.csi.cern.ch"
    assert info.vendor_version
    assert identity.Probe(csi_pb2.ProbeRequest(), timeout=5).ready.value is True
    capabilities = identity.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest(), timeout=5)
    assert capabilities == csi_pb2.GetPluginCapabilitiesResponse()
