"""Checks of a node plugin from outside, through its socket as kubelet would."""

import socket as sockets
from pathlib import Path

import grpc

from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver.core.names import DRIVER_NAME

# Seconds for an answer; kubelet waits as long for a plugin.
TIMEOUT = 1.0
# A new connection, never one that an earlier channel has left behind.
_CHANNEL = [("grpc.use_local_subchannel_pool", 1)]


def socket_problems(socket: Path) -> list[str]:
    """Return the reason why the CSI socket does not answer as this driver, if there is one."""
    try:
        with grpc.insecure_channel(f"unix:{socket}", options=_CHANNEL) as channel:
            info = csi_pb2_grpc.IdentityStub(channel).GetPluginInfo(
                csi_pb2.GetPluginInfoRequest(), timeout=TIMEOUT
            )
    except grpc.RpcError as error:
        return [f"{socket} does not answer: {error.code().name}"]
    return [] if info.name == DRIVER_NAME else [f"{socket} is served by another driver"]


def is_served(socket: Path) -> bool:
    """Return True if a process listens on a socket, even if it is too busy to answer."""
    with sockets.socket(sockets.AF_UNIX) as probe:
        # A full queue of connections shows that a process listens; do not wait for room in it.
        probe.setblocking(False)
        try:
            probe.connect(str(socket))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True
