"""Where the bench runs, and its processes: programs that are measured, and its own helpers."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from csidriver.adapters.mounts import Mounts
from csidriver.demo import sandbox
from csidriver.errors import DriverError
from tests.processes import page_at

# A memory of our own behind the name that all use for it: etcd's data, kubelet's folder.
MEMORY = Path("/dev/shm")  # noqa: S108 - ours alone, see `_enter_room`
TOP = Path(__file__).parents[1]
TIMEOUT = 60.0  # seconds; only a defect waits for it
# What runs the role given as the next argument, of the working tree in PYTHONPATH.
ROLE = (sys.executable, "-P", "-m", "csidriver")
# Mounts below kubelet's folder show on both sides, as with mount propagation Bidirectional.
OWN_MOUNTS = ("unshare", "--mount", "--propagation", "unchanged")


def measure_part(connection: Connection, name: str, quick: bool) -> None:  # noqa: FBT001 - of a process
    """Measure one part; what is wrong with it, or left behind by it, harms no other one."""
    _enter_room()
    try:
        for row in import_module(f"bench.{name}").measure(quick=quick):
            connection.send(row)
        connection.send(None)
    except BaseException:  # noqa: BLE001 - printed here, and then this process is over
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


def _enter_room() -> None:
    """Return in a new process that is process 1 of its namespaces, and has an empty `MEMORY`.

    Its end takes all its processes, mounts and files with it, and the parent's end takes it.
    """
    sandbox.die_with_parent()
    sandbox.enter(with_children=True)
    Mounts().mount_tmpfs(MEMORY, size=2 << 30, inodes=1 << 18)
    if child := os.fork():
        os._exit(abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
    sandbox.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Process ids as they are here, for those who read /proc.
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)  # noqa: S607


class Child(ExitStack):
    """A function in a process of its own, with a connection to it as first argument."""

    def __init__(self, function: Callable[..., None], *arguments: object) -> None:
        super().__init__()
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self._process = context.Process(target=function, args=(other, *arguments))
        self._process.start()
        self.callback(self._process.join)
        self.callback(self._process.kill)
        other.close()

    def ask(self, question: object = None) -> Any:
        """Send a question, and return the answer."""
        self.connection.send(question)
        return self.receive()

    def receive(self) -> Any:
        """Return what it sends; raise DriverError if it ended instead."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionError):
            raise DriverError(f"{self._process.name} has ended") from None


def answer_all(connection: Connection, answer: Callable[[Any], object]) -> None:
    """Answer questions until the one who asks kills this process."""
    while True:
        connection.send(answer(connection.recv()))


class Program(ExitStack):
    """A running program that is measured: it has the variables of the image, and a log."""

    def __init__(self, name: str, command: Sequence[str], tree: Path = TOP) -> None:
        super().__init__()
        self._name, self._log = name, MEMORY / f"{name}-{time.monotonic_ns()}.log"
        self.started = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment() | {"PYTHONPATH": str(tree)},
            )
        self.enter_context(self._process)
        self.callback(self._process.kill)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Raise DriverError, with its last lines, if it has ended."""
        if (status := self._process.poll()) is not None:
            self._fail(f"ended with status {status}")

    def until(self, condition: Callable[[], Any], limit: float = TIMEOUT) -> Any:
        """Return the first true value of a condition; raise DriverError if it does not come."""
        while not (value := condition()):
            self.check()
            if time.monotonic() > self.started + limit:
                self._fail(f"is not ready after {limit:g} s")
            time.sleep(0.02)
        return value

    def page(self, name: str) -> str:
        """Return a page that it serves, "" before it serves it with status 200."""
        what = "metrics" if name == "metrics" else "health"
        if (found := re.search(rf"{what} on http://([^\s\"]+)/", self.log)) is None:
            return ""
        status, text = page_at(f"http://{found[1]}", name)
        return text if status == 200 else ""  # noqa: PLR2004

    def memory(self) -> float:
        """RSS in MiB; smaps_rollup counts pages, /proc/<pid>/status may be some behind."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text(encoding="ascii")
        return float(text.partition("\nRss:")[2].split()[0]) / 1024

    def cpu(self) -> float:
        """Seconds of CPU of all its threads, also of those that have ended."""
        # The clock of a process by its id: clock_getcpuclockid(3), which Python does not have.
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def stop(self) -> float:
        """End it as a kubelet does; the seconds that took. Raise DriverError if it failed."""
        began = time.monotonic()
        self._process.terminate()
        if self._process.wait(TIMEOUT):
            self.check()
        return time.monotonic() - began

    def _fail(self, problem: str) -> None:
        end = "\n".join(self.log.splitlines()[-15:])
        raise DriverError(f"{self._name} {problem}:\n{end}")


def memory_of_imports(modules: str) -> float:
    """Return the MiB of a process that has imported these modules, and does nothing."""
    code = f"import time, {modules}; print(1, flush=True); time.sleep(60)"
    with Program("imports", [sys.executable, "-P", "-c", code]) as program:
        program.until(lambda: program.log)
        return program.memory()


def _environment() -> dict[str, str]:
    """Return the variables of the image, without proxies."""
    lines = (TOP / "Dockerfile").read_text(encoding="utf-8").splitlines()
    settings = [line.split()[1:] for line in lines if line.startswith("ENV ")]
    image = dict(setting.split("=", 1) for line in settings for setting in line)
    outer = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
    return outer | image
