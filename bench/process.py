"""The node plugin as a process, in a mount namespace of its own as in a container."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from csidriver.adapters.mounts import Mounts
from csidriver.core import names
from csidriver.demo.kubelet import Kubelet
from csidriver.errors import DriverError

DOCKERFILE = Path(__file__).parents[1] / "Dockerfile"
# What runs the role given as the next argument.
PROGRAM = ("-m", "csidriver")
# Seconds.
TIMEOUT = 30.0


class PluginEnded(DriverError):
    """The plugin under test ended by itself."""


class Plugin:
    """`start` and `stop` it as often as you like; published volumes stay, as on a node.

    Its namespace is a peer of ours below kubelet's folder: mounts made here or there show on both
    sides, which is what Bidirectional mount propagation means. It has the variables of the image,
    and its byte code is compiled beforehand: the first start, which does that, is to be discarded.
    """

    def __init__(self, folder: Path, flags: Sequence[str], namespace: str) -> None:
        self.kubelet = Kubelet(folder / "kubelet", Mounts(), namespace)
        self.kubelet.prepare()
        self.socket = self.kubelet.root / "plugins" / names.DRIVER_NAME / "csi.sock"
        self._log = folder / "node.log"
        # What Python runs; another program takes effect at the next start.
        self.program: Sequence[str] = PROGRAM
        self._flags = [
            *("--listen", "127.0.0.1:0", "--node-id", "bench"),
            *("--store", "kubernetes", *flags),
            *("--kubelet-dir", str(self.kubelet.root), "--view-dir", str(folder / "view")),
            *("--volumes-per-namespace=9999", "--volumes-per-node=9999"),
        ]
        self._environment = environment(folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it and have kubelet register it; the seconds that took."""
        namespace = ["unshare", "--mount", "--propagation", "unchanged"]
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [*namespace, sys.executable, *self.program, "node", *self._flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        self.kubelet.register(threading.Event(), TIMEOUT, self.check)
        return time.monotonic() - began

    def stop(self) -> float:
        """End it as a kubelet does; the seconds that took. Raises PluginEnded if it failed."""
        process = self._running()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status = process.wait(TIMEOUT)
        took = time.monotonic() - began
        self._process = None
        if status != 0:
            raise PluginEnded(f"the plugin ended with status {status}:\n{self._tail()}")
        return took

    def check(self) -> None:
        """Raise PluginEnded, with the end of the log, if the plugin has ended."""
        if self._running().poll() is not None:
            raise PluginEnded(f"the plugin has ended:\n{self._tail()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    def memory(self) -> dict[str, float]:
        """`Rss`, `Pss` and `Private_Dirty` in KiB, exact, of /proc/<pid>/smaps_rollup."""
        return memory_of(self.pid)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise PluginEnded("the plugin is not running")
        return self._process

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(encoding="utf-8").splitlines()[-15:])


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of the image; Python keeps byte code below the folder."""
    # The image brings its byte code and lets nobody write any; compiling takes memory.
    own = {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    settings = [line.split()[1:] for line in lines if line.startswith("ENV ")]
    image = dict(setting.split("=", 1) for line in settings for setting in line)
    return os.environ | image | own


def memory_of(pid: int) -> dict[str, float]:
    """`Rss`, `Pss` and `Private_Dirty` of a process in KiB, exact, of its smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    fields = (line.split() for line in lines[1:])
    return {name.rstrip(":"): float(kib) for name, kib, *_ in fields}


def cpu_of(pid: int) -> float:
    """Seconds of CPU that all threads of a process have had, by the scheduler's own count."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9
