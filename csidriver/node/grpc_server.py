"""The gRPC server on its two sockets, as kubelet expects to find them."""

import os
import threading
from concurrent import futures
from pathlib import Path

import grpc

from csidriver._proto import csi_pb2_grpc
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc
from csidriver.errors import InvalidSettings
from csidriver.node.error_interceptor import ErrorInterceptor
from csidriver.node.identity_service import IdentityService
from csidriver.node.node_service import NodeService
from csidriver.node.registration import RegistrationService

# Kubelet calls for one volume at a time per pod; half of the threads may wait for tokens.
THREADS = 16
# Longest path a unix socket may have (unix(7)), less the terminating NUL.
_MAX_SOCKET_PATH = 107


class GrpcServer:
    """Serves CSI and registration. Start it when volumes can be published."""

    def __init__(
        self,
        interceptor: ErrorInterceptor,
        identity: IdentityService,
        node: NodeService,
        registration: RegistrationService,
    ) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(THREADS, thread_name_prefix="rpc"),
            interceptors=[interceptor],
            options=[("grpc.so_reuseport", 0)],
        )
        csi_pb2_grpc.add_IdentityServicer_to_server(identity, self._server)
        csi_pb2_grpc.add_NodeServicer_to_server(node, self._server)
        registration_pb2_grpc.add_RegistrationServicer_to_server(registration, self._server)
        self._sockets: list[tuple[Path, os.stat_result]] = []

    def start(self, csi_socket: Path, registration_socket: Path) -> None:
        """Answer on both sockets; the registration socket appears last, when CSI is served.

        gRPC binds drafts that are then renamed. This replaces the sockets of a dead process
        without a gap, and keeps gRPC from removing the socket of a newer process when it stops.

        Raises:
            InvalidSettings: a path is too long for a socket, or cannot be bound.
        """
        sockets = [csi_socket, registration_socket]
        drafts = [path.with_name(f".{os.getpid()}{index}") for index, path in enumerate(sockets)]
        old_umask = os.umask(0o077)
        try:
            for path, draft in zip(sockets, drafts, strict=True):
                self._bind(path, draft)
        finally:
            os.umask(old_umask)
        self._server.start()
        for path, draft in zip(sockets, drafts, strict=True):
            ours = draft.lstat()
            draft.rename(path)
            self._sockets.append((path, ours))

    def stop(self, grace: float) -> None:
        """Remove the sockets, registration first; running calls have `grace` seconds to end."""
        for path, ours in reversed(self._sockets):
            remove_if_ours(path, ours)
        self._sockets.clear()
        done: threading.Event = self._server.stop(grace)
        done.wait()

    def _bind(self, path: Path, draft: Path) -> None:
        if max(len(os.fsencode(p)) for p in (path, draft)) > _MAX_SOCKET_PATH:
            raise InvalidSettings(
                "socket", [f"{path} is longer than {_MAX_SOCKET_PATH} bytes; use a shorter folder"]
            )
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        try:
            self._server.add_insecure_port(f"unix:{draft}")
        except RuntimeError as error:
            raise InvalidSettings("socket", [f"{path} cannot be bound"]) from error


def remove_if_ours(path: Path, ours: os.stat_result) -> None:
    try:
        status = path.lstat()
        # The inode alone is not enough: a new file may get the number of a removed one.
        if (status.st_ino, status.st_mtime_ns) == (ours.st_ino, ours.st_mtime_ns):
            path.unlink()
    except FileNotFoundError:
        return
