"""The namespaces and folders of a throw-away machine: everything in it ends when it is closed.

Its process 1 does nothing but be the first; its death takes all processes, mounts and network
devices along. Only folders and cgroups have to be removed by hand.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.programs import HERE

PREFIX = "oauth2-csi-e2e-"
_DISK, _MEMORY, _CGROUPS = Path("/var/tmp"), Path("/dev/shm"), Path("/sys/fs/cgroup")
_UNSHARE = ["unshare", "--fork", "--kill-child", "--propagation=private"]
_NAMESPACES = ["--mount", "--pid", "--net", "--uts", "--ipc"]
PATIENCE = 30.0


class Machine:
    """A machine with the root file system `root`, once started; `seen` are folders it sees."""

    def __init__(self, root: Path, seen: Sequence[Path]) -> None:
        self._root = root
        self._seen = seen
        self.disk = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_DISK))
        self.name = self.disk.name
        self.memory = _MEMORY / self.name
        self._lock = _lock(self.disk)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Start it; its process 1 as this machine numbers it."""
        self.memory.mkdir()
        for controller in _controllers():
            (controller / self.name).mkdir()
        pairs = [str(path) for path in (self.memory, *self._seen) for _ in range(2)]
        for place in ("/var/lib/containerd", "/var/lib/kubelet"):
            # Not on an overlay: containerd makes overlays in there, and kubelet measures it.
            folder = self.disk / Path(place).name
            folder.mkdir()
            pairs += [str(folder), place]
        enter = [f"{HERE}/enter.sh", str(self._root), str(self.disk), *pairs, "--"]
        self._process = subprocess.Popen(  # noqa: S603 - programs of ours
            ["setpriv", "--pdeathsig=KILL", *_UNSHARE, *_NAMESPACES]
            + [*enter, "tini", "--", "sleep", "infinity"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while (first := self._first()) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the machine's namespaces did not come up")
            time.sleep(0.05)
        return first

    def close(self) -> None:
        """End every process in it, and remove its cgroups and folders."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        _remove(self.name)
        os.close(self._lock)

    def _first(self) -> int | None:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text() == "tini\n":
            return int(children[0])
        return None


@contextlib.contextmanager
def running(root: Path, seen: Sequence[Path]) -> Iterator[tuple[Machine, int]]:
    """A machine and its process 1; closed whatever happens, and not interrupted in that."""
    sweep()
    machine = Machine(root, seen)
    try:
        yield machine, machine.start()
    finally:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_IGN)
        machine.close()


def inside(first: int, command: Sequence[str]) -> list[str]:
    """A command that runs in the machine's namespaces, but sees the files of this one."""
    enter = ["nsenter", f"--target={first}", "--pid", "--net", "--uts", "--ipc"]
    return [*enter, "unshare", "--mount", "--mount-proc", "--propagation=private", *command]


def sweep() -> None:
    """Remove what a run left that was killed."""
    for folder in _DISK.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _lock(folder)
            _remove(folder.name)
            os.close(lock)


def _lock(folder: Path) -> int:
    """Held as long as the folder is in use. Raises BlockingIOError if it is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _controllers() -> list[Path]:
    """The cgroup hierarchies: one, or one per controller with cgroup v1."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(where) for _, where, kind, *_ in mounts if kind in {"cgroup", "cgroup2"}]


def _remove(name: str) -> None:
    for controller in _controllers():
        top = controller / name
        deadline = time.monotonic() + PATIENCE
        while top.exists():
            for folder in sorted((path for path in top.rglob("*/")), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                top.rmdir()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{top} could not be removed: processes remain in it")
            if top.exists():
                time.sleep(0.1)
    shutil.rmtree(_MEMORY / name, ignore_errors=True)
    shutil.rmtree(_DISK / name, ignore_errors=True)
