"""Runs the empty grpcio server as the plugin is run, and registers it in the same way."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.process import TIMEOUT, environment, memory_of
from csidriver.adapters.mounts import Mounts
from csidriver.demo.kubelet import Kubelet
from csidriver.errors import DriverError


class Empty:
    """Started and registered on entering, ended on leaving; `took` is the seconds in between."""

    def __init__(self, folder: Path) -> None:
        self._kubelet = Kubelet(folder / "empty", Mounts(), "none")
        if not self._kubelet.root.exists():
            self._kubelet.prepare()
        self._sockets = [
            self._kubelet.root / "plugins/empty/csi.sock",
            self._kubelet.root / "plugins_registry/empty-reg.sock",
        ]
        self._environment = environment(folder)

    def __enter__(self) -> Self:
        for socket in self._sockets:
            socket.unlink(missing_ok=True)
        began = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [
                *("unshare", "--mount", "--propagation", "unchanged"),
                *(sys.executable, "-m", "bench.empty_server", *map(str, self._sockets)),
            ],
            stdin=subprocess.DEVNULL,
            env=self._environment,
        )
        try:
            self._kubelet.register(threading.Event(), TIMEOUT, self._check)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self.took = time.monotonic() - began
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def memory(self) -> float:
        """RSS in MiB."""
        return memory_of(self._process.pid)["Rss"] / 1024

    def _check(self) -> None:
        if self._process.poll() is not None:
            raise DriverError("the empty server has ended")
