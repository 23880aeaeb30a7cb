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
_UNREGISTERED = "kubelet has not registered the plugin"


class RegistrationService(registration_pb2_grpc.RegistrationServicer):
    """Answers kubelet. `endpoint` is the host path of the CSI socket.

    After a refusal (`refused`) the plugin goes on, because its volumes need it. `on_change` is
    called with True when the plugin is registered, else False.
    """

    def __init__(self, endpoint: str, on_change: Callable[[bool], None]) -> None:
        self._endpoint = endpoint
        self._on_change = on_change
        self.problems = [_UNREGISTERED]
        self.refused = False

    def reset(self) -> None:
        """Expect kubelet again at a new socket; it forgets a plugin whose socket was removed."""
        if not self.refused:
            self._set_problems(_UNREGISTERED)
        self.refused = False

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
        self.refused = not request.plugin_registered
        if request.plugin_registered:
            self._set_problems()
            log.info("kubelet has registered the plugin")
        else:
            # Escaped and truncated, or a client of the socket could write lines of the log.
            self._set_problems(f"kubelet refuses to register the plugin: {request.error!r:.1000}")
            log.error("%s", *self.problems)
        return registration_pb2.RegistrationStatusResponse()

    def _set_problems(self, *problems: str) -> None:
        self.problems = [*problems]
        self._on_change(not problems)
