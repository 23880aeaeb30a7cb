"""The floor of a node plugin: a grpcio server that registers with kubelet and does nothing else.

Run with the two sockets to serve on, that of CSI first. Nothing of ours is imported but the
messages.
"""

import sys
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver._proto import pluginregistration_pb2 as registration_pb2
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc


class Node(csi_pb2_grpc.NodeServicer):
    """Has a name."""

    def NodeGetInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the RPC's name
        """Answer the request that kubelet sends before it registers a plugin."""
        return csi_pb2.NodeGetInfoResponse(node_id="empty")


class Registration(registration_pb2_grpc.RegistrationServicer):
    """Tells where the other socket is."""

    def GetInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the RPC's name
        """Answer the request that kubelet sends to a new socket."""
        return registration_pb2.PluginInfo(
            type="CSIPlugin",
            name="empty.csi.example",
            endpoint=sys.argv[1],
            supported_versions=["1.0.0"],
        )

    def NotifyRegistrationStatus(  # noqa: N802 - the RPC's name
        self, _request: Any, _context: Any
    ) -> Any:
        """How it ended."""
        return registration_pb2.RegistrationStatusResponse()


def main() -> None:
    """Serve until a signal ends the process."""
    for path in sys.argv[1:]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    server = grpc.server(futures.ThreadPoolExecutor(16))
    csi_pb2_grpc.add_NodeServicer_to_server(Node(), server)
    registration_pb2_grpc.add_RegistrationServicer_to_server(Registration(), server)
    for path in sys.argv[1:]:
        server.add_insecure_port(f"unix:{path}")
    server.start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
