"""The refresher as a process, with the environment of the image, and what the kernel says of it."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.process import environment, memory_of
from csidriver.errors import DriverError

TIMEOUT = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RefresherProcess:
    """Started on entering, ended on leaving; `began` is when (monotonic)."""

    def __init__(self, folder: Path, flags: Sequence[str], python: Sequence[str] = ()) -> None:
        self._log = folder / "refresher.log"
        self._command = [
            *(sys.executable, *python, "-m", "csidriver", "refresher"),
            *("--store", "kubernetes", "--listen", "127.0.0.1:0"),
            *("--spool-dir", str(folder / "spool"), "--identity", "bench", *flags),
            "--tokens-per-namespace=999999",
        ]
        self._environment = environment(folder)

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def until_scheduled(self, count: int) -> float:
        """Seconds from its start until it knows of so many tokens and is ready."""
        while not self._scheduled(count):
            if self._process.poll() is not None or time.monotonic() > self.began + TIMEOUT:
                raise DriverError(f"the refresher did not get ready:\n{self.tail()}")
            time.sleep(0.05)
        return time.monotonic() - self.began

    def metric(self, name: str) -> float:
        """One of its own metrics, 0 if it is not there."""
        found = re.search(
            rf"^oauth2_csi_refresher_{re.escape(name)} (\S+)$", self.page("metrics"), re.MULTILINE
        )
        return float(found[1]) if found else 0.0

    def page(self, name: str) -> str:
        """Return a page of the process, "" if it does not serve it with status 200."""
        found = re.search(
            rf"{'metrics' if name == 'metrics' else 'health'} on (http://[^\s\"]+)/",
            self._log.read_text(encoding="utf-8"),
        )
        try:
            with _OPENER.open(f"{found[1] if found else ''}/{name}", timeout=10) as answer:
                return str(answer.read().decode())
        except (OSError, ValueError, urllib.error.URLError):
            return ""

    def cpu(self) -> float:
        """Seconds of CPU, user and system."""
        fields = (
            Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        )
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def threads(self) -> int:
        """How many threads it has."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def memory(self) -> float:
        """RSS in MiB, exact."""
        return memory_of(self.pid)["Rss"] / 1024

    def most_memory(self) -> float:
        """Return the largest RSS so far, in MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def tail(self, lines: int = 15) -> str:
        """Return the end of the log."""
        text = self._log.read_text(encoding="utf-8").splitlines()
        return "\n".join(text[-lines:])

    def complaints(self) -> list[str]:
        """Return the log lines above the level INFO."""
        text = self._log.read_text(encoding="utf-8").splitlines()
        return [line for line in text if not re.search(r'"(INFO|info)"', line)]

    def _scheduled(self, count: int) -> bool:
        if not self.page("readyz"):
            return False
        return self.metric("leader") == 1 and self.metric("sources") >= count
