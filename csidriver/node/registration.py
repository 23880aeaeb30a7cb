"""Kubelet's plugin registration, which the plugin serves itself, without a sidecar."""

import logging
from collections.abc import Callable

import grpc

from csidriver._proto import pluginregistration_pb2 as registration_pb2
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc
from csidriver.core.names import DRIVER_NAME

log = logging.getLogger(__name__)

PLUGIN_TYPE = "CSIPlugin"
SUPPORTED_VERSIONS = ("1.0.0",)


class RegistrationService(registration_pb2_grpc.RegistrationServicer):
    """Answers kubelet. `endpoint` is the host path of the CSI socket.

    `on_refused` is called when kubelet refuses the plugin: the process should end with an error,
    and be restarted.
    """

    def __init__(self, endpoint: str, on_refused: Callable[[], None]) -> None:
        self._endpoint = endpoint
        self._on_refused = on_refused
        self.registered = False

    def GetInfo(  # noqa: N802 - the RPC's name
        self, _request: registration_pb2.InfoRequest, _context: grpc.ServicerContext
    ) -> registration_pb2.PluginInfo:
        """Describe the plugin to kubelet, which has found the registration socket."""
        return registration_pb2.PluginInfo(
            type=PLUGIN_TYPE,
            name=DRIVER_NAME,
            endpoint=self._endpoint,
            supported_versions=SUPPORTED_VERSIONS,
        )

    def NotifyRegistrationStatus(  # noqa: N802 - the RPC's name
        self, request: registration_pb2.RegistrationStatus, _context: grpc.ServicerContext
    ) -> registration_pb2.RegistrationStatusResponse:
        if request.plugin_registered:
            self.registered = True
            log.info("kubelet has registered the plugin")
        else:
            # Escaped and truncated, or a client of the socket could write lines of the log.
            log.error("kubelet refuses to register the plugin: %.1000r", request.error)
            self._on_refused()
        return registration_pb2.RegistrationStatusResponse()
