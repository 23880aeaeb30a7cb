"""A node whose plugin is a process with limits, in a cluster."""

import subprocess
from pathlib import Path

import grpc

from tests.cluster.noderole import NodeRole
from tests.node.plugin import Node
from tests.processes import command
from tests.waiting import until


class LimitedNode(Node):
    """Its plugin is started with `prefix`, and with the usual limits of open files."""

    def __init__(self, role: NodeRole, prefix: tuple[str, ...], *flags: str) -> None:
        super().__init__()
        self.role = role
        self._prefix, self._flags = prefix, flags
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: object) -> None:
        assert not settings
        flags = [
            *(*self.role.flags, f"--kubelet-dir={self.kubelet_dir}", "--listen=127.0.0.1:0"),
            *(f"--view-dir={self.settings.view}", "--node-id=node-1", "--publish-wait=30"),
            *self._flags,
        ]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [*self._prefix, "prlimit", "--nofile=1024:8192", *command("node", *flags)],
                stdout=log,
                stderr=log,
            )
        until(lambda: not self.is_running() or self.registration.exists(), "start", 60)
        assert self.is_running(), self.log()
        self._channel = grpc.insecure_channel(f"unix:{self.socket}")

    def stop(self) -> None:
        if self._process is None:
            return
        assert self.is_running(), self.log()
        self._channel.close()
        process, self._process = self._process, None
        process.terminate()
        try:
            assert process.wait(60) == 0, self.log()
        finally:
            process.kill()
            process.wait()

    def open_files(self) -> int:
        assert self._process is not None
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return (self.root / "log").read_text(encoding="utf-8")[-3000:]
