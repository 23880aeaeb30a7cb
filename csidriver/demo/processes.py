"""The demo's child processes: roles and readers."""

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from csidriver.errors import DriverError

# Seconds between SIGTERM and SIGKILL.
STOP_TIMEOUT = 5.0
# The roles listen on loopback, so proxies of the environment must not apply.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_METRICS = re.compile(r"metrics on (http://[^\s\"]+)")


class ProcessFailed(DriverError):
    """A process of the demo ended unexpectedly."""


class RoleProcess:
    """One role of the driver, started by its command, with its log in a file."""

    def __init__(self, name: str, log: Path, arguments: list[str]) -> None:
        self.name = name
        self._log = log
        command = [sys.executable, "-m", "csidriver", name, "--listen", "localhost:0", *arguments]
        with log.open("wb") as output:
            # In its own session Ctrl-C does not reach it: the demo stops its children in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def metrics(self) -> Mapping[str, float]:
        """Return samples by name and label values, `name{a,b}`; empty until the role serves."""
        match = _METRICS.search(self._log.read_text(encoding="utf-8"))
        if match is None:
            return {}
        with _DIRECT.open(match[1], timeout=5) as response:
            text = response.read().decode()
        return {
            f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def check(self) -> None:
        """Raise ProcessFailed, with the end of the log, if the role has ended."""
        if self._process.poll() is not None:
            end = "\n".join(self._log.read_text(encoding="utf-8").splitlines()[-15:])
            raise ProcessFailed(f"{self.name} ended with status {self._process.returncode}:\n{end}")

    def stop(self) -> None:
        """Stop the process with SIGTERM, then with SIGKILL."""
        _stop(self._process)


class ReaderProcess:
    """A reader of one token file, and its last report."""

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        self.name = name
        self.report: Mapping[str, Any] = {}  # the newest one, empty before the first one
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

    def check(self) -> None:
        if self._process.poll() is not None:
            raise ProcessFailed(f"the reader of {self.name} could not read its file")

    def stop(self) -> None:
        _stop(self._process)
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _collect_reports(self) -> None:
        for line in self._process.stdout or ():
            self.report = json.loads(line)


def _stop(process: "subprocess.Popen[Any]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
