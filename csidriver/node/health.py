"""Whether a node plugin is alive and ready, asked the way kubelet would."""

import socket as sockets
from pathlib import Path

import grpc

from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver.core.names import DRIVER_NAME

# Kubelet's own patience with a plugin, in seconds.
TIMEOUT = 1.0


def socket_problems(socket: Path) -> list[str]:
    """What keeps the CSI socket from answering as this driver."""
    try:
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            info = csi_pb2_grpc.IdentityStub(channel).GetPluginInfo(
                csi_pb2.GetPluginInfoRequest(), timeout=TIMEOUT
            )
    except grpc.RpcError as error:
        return [f"{socket} does not answer: {error.code().name}"]
    return [] if info.name == DRIVER_NAME else [f"{socket} is served by another driver"]


def is_served(socket: Path) -> bool:
    """Whether a process listens on a socket, be it too busy or too stuck to answer."""
    with sockets.socket(sockets.AF_UNIX) as probe:
        # A full queue of connections is a sign of life, and nothing to wait for.
        probe.setblocking(False)
        try:
            probe.connect(str(socket))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True
