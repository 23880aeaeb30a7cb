"""A node whose plugin runs in a process that tests can kill."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import grpc

from csidriver._proto import csi_pb2_grpc
from tests.node.killable_child import KillPlan
from tests.node.plugin import Node, _inode, names
from tests.waiting import until

REPOSITORY = Path(__file__).parents[2]
# A channel that does not share failed connections of earlier channels to the same socket.
CHANNEL = [("grpc.use_local_subchannel_pool", 1)]


class ForkServer:
    """Runs `module`, which forks a process for each request; thread-safe."""

    def __init__(self, module: str = "tests.node.killable_child") -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 - a module of ours
            [sys.executable, "-m", module],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def request(self, **command: Any) -> int:
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(f"{json.dumps(command)}\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())


class KillablePlugin(Node):
    """`start` and `kill` a plugin any number of times; `close` removes everything."""

    def __init__(self, fork_server: ForkServer) -> None:
        super().__init__()
        self._fork_server = fork_server
        self._pid = 0
        self._pidfd = -1
        self._before: object = None

    def recorded_steps(self) -> list[str]:
        """Return the steps of the last process with a `thread`, the one it died before included."""
        return (self.root / "steps").read_text(encoding="utf-8").splitlines()

    def log(self) -> str:
        """Return the log of all processes."""
        return (self.root / "log").read_text(encoding="utf-8")

    def start(self, **settings: Any) -> None:
        assert not settings
        self.launch()
        assert self.wait_until_serving(), f"the plugin has died by itself: {self.log()[-2000:]}"

    def launch(self, thread: str = "", at: int = -1) -> None:
        """Start a process. With `thread` its steps are recorded; it dies before step `at`."""
        assert not self._pid
        steps = str(self.root / "steps")
        plan = asdict(KillPlan(str(self.root), steps, thread, at)) if thread else None
        settings = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self.settings).items()
        }
        log, store = str(self.root / "log"), str(self.store_root)
        self._before = _inode(self.registration)
        self._pid = self._fork_server.request(settings=settings, store=store, log=log, plan=plan)
        self._pidfd = os.pidfd_open(self._pid)

    def wait_until_serving(self) -> bool:
        """Wait until the plugin serves or is dead; return True if it serves."""
        until(
            lambda: self._is_dead(0) or _inode(self.registration) not in (None, self._before),
            "start",
        )
        return not self._is_dead(0)

    def wait_until_killed(self) -> None:
        """Wait until the plugin has ended by SIGKILL."""
        assert self._is_dead(30), "the plugin does not die"
        status = self._fork_server.request(wait=self._pid)
        os.close(self._pidfd)
        self._pid, self._pidfd = 0, -1
        assert status == -signal.SIGKILL, f"the plugin ended with {status}: {self.log()[-2000:]}"

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self.wait_until_killed()

    def stop(self) -> None:
        if self._pid:
            self.kill()

    def call(self, method: str, request: Any, timeout: float = 30.0) -> Any:
        """Make one RPC over a new connection, as kubelet does."""
        with grpc.insecure_channel(f"unix:{self.socket}", options=CHANNEL) as channel:
            return getattr(csi_pb2_grpc.NodeStub(channel), method)(request, timeout=timeout)

    def assert_only_published(self, *volumes: str) -> None:
        """Assert that exactly these volumes are published, each once and complete."""
        assert names(self.token_folder) == sorted(self.folder(volume).name for volume in volumes)
        assert (
            len(self.mounts_at(self.token_folder)) == len(self.mounts_at(self.settings.view)) == 1
        )
        for volume in volumes:
            assert names(self.target(volume)) == ["token"]
            assert names(self.folder(volume)) == ["data", "volume.json"]
            assert self.file(volume).stat().st_nlink == 1
        own_mounts = [m for m in self.mounts.table() if Path(m.target).is_relative_to(self.root)]
        # Kubelet's folder, the tmpfs and the view come first.
        assert len(own_mounts) == 3 + len(volumes)

    def _is_dead(self, timeout: float) -> bool:
        return bool(select.select([self._pidfd], [], [], timeout)[0])
