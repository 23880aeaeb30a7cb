"""A node whose plugin is a process that can be killed."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import grpc

from csidriver._proto import csi_pb2_grpc
from tests.node.killable_child import Doom
from tests.node.plugin import Node, _inode, eventually, names

REPOSITORY = Path(__file__).parents[2]
# Of a channel that does not remember how earlier ones fared with the same socket.
CHANNEL = [("grpc.use_local_subchannel_pool", 1)]


class Zygote:
    """Forks processes that can be killed, see the `module`; any thread may ask."""

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

    def ask(self, **command: Any) -> int:
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(f"{json.dumps(command)}\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())


class Mortal(Node):
    """`start` and `kill` a plugin as often as you like; `close` leaves nothing."""

    def __init__(self, zygote: Zygote) -> None:
        super().__init__()
        self._zygote = zygote
        self._pid = 0
        self._pidfd = -1
        self._before: object = None

    @property
    def steps(self) -> Path:
        return self.root / "steps"

    def recorded(self) -> list[str]:
        """The steps that the last process launched with a `thread` has made or died before."""
        return self.steps.read_text(encoding="utf-8").splitlines()

    def log(self) -> str:
        """What all processes had to say."""
        return (self.root / "log").read_text(encoding="utf-8")

    def start(self, **settings: Any) -> None:
        assert not settings
        self.launch()
        assert self.serves(), f"the plugin has died by itself: {self.log()[-2000:]}"

    def launch(self, thread: str = "", at: int = -1) -> None:
        """Start a process. With `thread` its steps are recorded; it dies before step `at`."""
        assert not self._pid
        doom = asdict(Doom(str(self.root), str(self.steps), thread, at)) if thread else None
        settings = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self.settings).items()
        }
        log, store = str(self.root / "log"), str(self.store_root)
        self._before = _inode(self.registration)
        self._pid = self._zygote.ask(settings=settings, store=store, log=log, doom=doom)
        self._pidfd = os.pidfd_open(self._pid)

    def serves(self) -> bool:
        """Wait until the plugin serves or is dead; whether it serves."""
        eventually(
            lambda: self._is_dead(0) or _inode(self.registration) not in (None, self._before),
            "start",
        )
        return not self._is_dead(0)

    def bury(self) -> None:
        """The plugin ends by SIGKILL, and soon."""
        assert self._is_dead(30), "the plugin does not die"
        status = self._zygote.ask(wait=self._pid)
        os.close(self._pidfd)
        self._pid, self._pidfd = 0, -1
        assert status == -signal.SIGKILL, f"the plugin ended with {status}: {self.log()[-2000:]}"

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self.bury()

    def stop(self) -> None:
        if self._pid:
            self.kill()

    def call(self, method: str, request: Any, timeout: float = 30.0) -> Any:
        """One RPC over a connection of its own, as kubelet does it."""
        with grpc.insecure_channel(f"unix:{self.socket}", options=CHANNEL) as channel:
            return getattr(csi_pb2_grpc.NodeStub(channel), method)(request, timeout=timeout)

    def tidy(self, *volumes: str) -> None:
        """These volumes are published, each once and whole, and nothing else is there."""
        assert names(self.state) == sorted(self.folder(volume).name for volume in volumes)
        assert len(self.mounted(self.state)) == len(self.mounted(self.settings.view)) == 1
        for volume in volumes:
            assert len(self.mounted(self.target(volume))) == 1
            assert names(self.target(volume)) == ["token"]
            assert names(self.folder(volume)) == ["data", "volume.json"]
            assert self.file(volume).stat().st_nlink == 1
        mine = [m for m in self.mounts.table() if Path(m.target).is_relative_to(self.root)]
        # Kubelet's folder, the tmpfs and the view come first.
        assert len(mine) == 3 + len(volumes)

    def _is_dead(self, patience: float) -> bool:
        return bool(select.select([self._pidfd], [], [], patience)[0])


@contextmanager
def mortal(zygote: Zygote) -> Iterator[Mortal]:
    node = Mortal(zygote)
    try:
        yield node
    finally:
        node.close()
