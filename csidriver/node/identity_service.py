"""The CSI Identity service: the driver's name and version, and a probe."""

import grpc
from google.protobuf.wrappers_pb2 import BoolValue

from csidriver import __version__
from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver.core.names import DRIVER_NAME


class IdentityService(csi_pb2_grpc.IdentityServicer):
    """Kubelet never calls it; probes and conformance tests do."""

    def GetPluginInfo(  # noqa: N802 - the RPC's name
        self, _request: csi_pb2.GetPluginInfoRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.GetPluginInfoResponse:
        return csi_pb2.GetPluginInfoResponse(name=DRIVER_NAME, vendor_version=__version__)

    def GetPluginCapabilities(  # noqa: N802 - the RPC's name
        self, _request: csi_pb2.GetPluginCapabilitiesRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        """Return no capability: there is no controller service."""
        return csi_pb2.GetPluginCapabilitiesResponse()

    def Probe(  # noqa: N802 - the RPC's name
        self, _request: csi_pb2.ProbeRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.ProbeResponse:
        """Answer ready: the server starts when everything is prepared."""
        return csi_pb2.ProbeResponse(ready=BoolValue(value=True))
