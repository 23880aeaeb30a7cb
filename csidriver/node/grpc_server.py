"""A gRPC server on a socket, as kubelet expects to find it."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import grpc

from csidriver.errors import InvalidSettings
from csidriver.files import stamp
from csidriver.node.health import is_served

log = logging.getLogger(__name__)

# Longest path a unix socket may have (unix(7)), less the terminating NUL.
_MAX_SOCKET_PATH = 107


class GrpcServer:
    """Serves one socket. It may be started again after a stop."""

    def __init__(self, socket: Path, new_server: Callable[[], grpc.Server]) -> None:
        self.socket = socket
        self._new_server = new_server
        self._server: grpc.Server | None = None
        self._ours: os.stat_result | None = None

    def start(self) -> None:
        """Answer on the socket.

        gRPC binds a draft that is then renamed. This replaces the socket of a dead process without
        a gap, and keeps gRPC from removing the socket of a newer process when it stops.

        Raises:
            InvalidSettings: the path is too long for a socket, or cannot be bound.
        """
        path, draft = self.socket, self.socket.with_name(f".{os.getpid()}0")
        if max(len(os.fsencode(p)) for p in (path, draft)) > _MAX_SOCKET_PATH:
            raise InvalidSettings(
                "socket", [f"{path} is longer than {_MAX_SOCKET_PATH} bytes; use a shorter folder"]
            )
        server = self._new_server()
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            server.add_insecure_port(f"unix:{draft}")
            draft.chmod(0o700)
            server.start()
            self._server, self._ours = server, draft.lstat()
            draft.rename(path)
        except (OSError, RuntimeError) as error:
            raise InvalidSettings("socket", [f"{path} cannot be bound: {error}"]) from error
        log.info("serving on %s", path)

    def restart(self, grace: float) -> None:
        """Make the socket again."""
        log.warning("making %s again", self.socket)
        self.stop(grace)
        self.start()

    def is_missing(self) -> bool:
        """Return True if the socket was removed, or replaced by one that nobody serves."""
        try:
            status = self.socket.lstat()
        except OSError:
            return True
        ours = self._ours is not None and stamp(status) == stamp(self._ours)
        return not ours and not is_served(self.socket)

    def stop(self, grace: float) -> None:
        """Remove the socket; running calls have `grace` seconds to end."""
        if self._ours is not None:
            remove_if_ours(self.socket, self._ours)
        if self._server is not None:
            done: threading.Event = self._server.stop(grace)
            done.wait()
        self._server = self._ours = None


def remove_if_ours(path: Path, ours: os.stat_result) -> None:
    with contextlib.suppress(OSError):  # also if its folder is gone
        if stamp(path.lstat()) == stamp(ours):
            path.unlink()
