"""A host: a root file system, a network, and programs that run there as services.

It shares the process namespace of this process, and ends with it.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from csidriver.core.volume.mountinfo import Mount, parse
from tests.e2e.machine import make_cgroup
from tools.programs import HERE

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("--mount", "--net", "--uts", "--ipc")
_ALONE = ["setpriv", "--pdeathsig=KILL"]
TIMEOUT = 90.0


class Host:
    """`cgroup` is where its pods are kept, and the logs of its services go to the folder `logs`."""

    def __init__(self, cgroup: str, logs: Path) -> None:
        self.cgroup = cgroup
        self._logs = logs
        self._first: subprocess.Popen[bytes] | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}

    @property
    def first(self) -> int:
        """The process that has held the namespaces since `enter`."""
        assert self._first is not None, "it has not started"
        return self._first.pid

    def enter(self, root: Path, box: Path, bound: Sequence[tuple[Path, str]]) -> None:
        """Make its namespaces; it writes to `box`, but for folders and files bound to a path."""
        make_cgroup(self.cgroup)
        box.mkdir()
        pairs = [str(part) for pair in bound for part in pair]
        enter = [f"{HERE}/enter.sh", str(root), str(box), *pairs, "--", "sleep", "infinity"]
        alone = [*_ALONE, "unshare", "--propagation=private", *_NAMESPACES]
        self._first = subprocess.Popen([*alone, *enter])  # noqa: S603 - programs of ours
        name = Path(f"/proc/{self.first}/comm")
        self.until("its file system is there", lambda: name.read_text("ascii") == "sleep\n")

    def path(self, path: str) -> Path:
        return Path(f"/proc/{self.first}/root{path}")

    def write(self, path: str, text: str) -> None:
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def mountinfo(self) -> str:
        return Path(f"/proc/{self.first}/mountinfo").read_text(encoding="utf-8")

    def mounts(self, part: str) -> list[Mount]:
        """Return the mounts whose target has `part` in its path."""
        return [mount for mount in parse(self.mountinfo().splitlines()) if part in mount.target]

    def run(self, *command: str) -> str:
        done = self.try_run(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def try_run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - commands of tests
            self._inside(command), env=_environment(), capture_output=True, text=True, check=False
        )

    def run_service(self, name: str, *command: str) -> None:
        """Start a program that goes on; it can be killed and started again by its name.

        It ends with the thread that calls.
        """
        self._commands[name] = list(command)
        with (self._logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - a program of ours
                [*_ALONE, *self._inside(command)],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    def restart(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        self.run_service(name, *self._commands[name])

    def kill_processes(self, part: str) -> int:
        """Kill the pods' processes with `part` in their command line; return their number.

        Words of a command line end in NUL.
        """
        killed = 0
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                groups = (process / "cgroup").read_text(encoding="utf-8")
                line = (process / "cmdline").read_text(encoding="utf-8", errors="replace")
                if f"/{self.cgroup}/" in groups and part in line:
                    os.kill(int(process.name), signal.SIGKILL)
                    killed += 1
        return killed

    def until(self, description: str, check: Callable[[], bool]) -> None:
        """Wait for a condition, as long as all services run."""
        deadline = time.monotonic() + TIMEOUT
        while not check():
            for name, process in self._processes.items():
                assert process.poll() is None, f"{name} ended, see {self._logs}"
            assert time.monotonic() < deadline, f"not within {TIMEOUT:.0f} s: {description}"
            time.sleep(0.2)

    def _inside(self, command: Sequence[str]) -> list[str]:
        enter = ["nsenter", f"--target={self.first}", *_NAMESPACES, "--root", "--wd", "--"]
        return [*enter, *command]


def _environment() -> dict[str, str]:
    return {"PATH": _PATH, "HOME": "/root", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
