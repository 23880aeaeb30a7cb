"""The demo's child processes: roles and readers, started, watched and ended."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from csidriver.errors import DriverError

# Seconds a process gets to end before it is killed.
STOP_TIMEOUT = 5.0
# Never through a proxy of the environment: the roles listen on loopback.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_METRICS = re.compile(r"metrics on (http://[^\s\"]+)")


class ProcessFailed(DriverError):
    """A process of the demo ended by itself, or never got ready."""


class RoleProcess:
    """One role of the driver, run by its command. Its log goes to a file."""

    def __init__(self, name: str, log: Path, arguments: list[str]) -> None:
        self.name = name
        self._log = log
        command = [sys.executable, "-m", "csidriver", name, "--listen", "127.0.0.1:0", *arguments]
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches the demo, which ends its children in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def metrics(self) -> Mapping[str, float]:
        """Samples by name and label values, `name{a,b}`; empty until the role serves them."""
        match = _METRICS.search(self._log.read_text(encoding="utf-8"))
        if match is None:
            return {}
        with _DIRECT.open(match[1], timeout=5) as answer:
            text = answer.read().decode()
        return {
            f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def check(self) -> None:
        """Raises ProcessFailed, with the end of its log, if it has ended."""
        if self._process.poll() is not None:
            raise ProcessFailed(
                f"{self.name} ended with status {self._process.returncode}:\n{self.log_tail()}"
            )

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(encoding="utf-8").splitlines()[-lines:])

    def stop(self) -> None:
        """End it: politely, then not."""
        _stop(self._process)


class ReaderProcess:
    """A reader of one token file, and the last thing it reported."""

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        self.name = name
        self._report: Mapping[str, Any] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "csidriver.demo.reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(parameters) + "\n")
            self._process.stdin.flush()
        self._thread = threading.Thread(target=self._collect_reports, name=f"reports-{name}")
        self._thread.start()

    def report(self) -> Mapping[str, Any]:
        """The newest report, empty before the first one."""
        return self._report

    def check(self) -> None:
        """Raises ProcessFailed if it has ended."""
        if self._process.poll() is not None:
            raise ProcessFailed(f"the reader of {self.name} could not read its file")

    def stop(self) -> None:
        """End it and wait for its last report."""
        _stop(self._process)
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _collect_reports(self) -> None:
        for line in self._lines():
            self._report = json.loads(line)

    def _lines(self) -> Iterator[str]:
        if self._process.stdout is not None:
            yield from self._process.stdout


def _stop(process: "subprocess.Popen[Any]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT
        try:
            process.wait(deadline - time.monotonic())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
