"""The namespaces and folders of a throw-away machine: everything in it ends when it is closed.

Its process 1 does nothing but be the first; its death takes all processes, mounts and network
devices along, also those of the nodes in it. Only folders and cgroups have to be removed by hand.
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

PREFIX = "oauth2-csi-e2e-"
_DISK, _MEMORY = Path("/var/tmp"), Path("/dev/shm")
_UNSHARE = ["unshare", "--fork", "--kill-child", "--propagation=private"]
_NAMESPACES = ["--mount", "--pid", "--net", "--uts", "--ipc"]
# It needs no library of its root file system.
_INIT = "tini-static"
TIMEOUT = 30.0


class Machine:
    """A machine that can be started; `disk` and `memory` are folders of its own."""

    def __init__(self) -> None:
        self.disk = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_DISK))
        self.name = self.disk.name
        self.memory = _MEMORY / self.name
        self._lock = _lock(self.disk)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, root: Path) -> int:
        """Start it with a program of a root file system; return its process 1."""
        self.memory.mkdir()
        make_cgroup(self.name)
        alone = ["setpriv", "--pdeathsig=KILL", *_UNSHARE, *_NAMESPACES]
        self._process = subprocess.Popen(  # noqa: S603 - programs of ours
            [*alone, f"{root}/usr/bin/{_INIT}", "--", "sleep", "infinity"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + TIMEOUT
        while (first := _first(self._process.pid)) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the machine's namespaces did not come up")
            time.sleep(0.05)
        # Before Python programs start in it: urllib3 asks at its import whether ::1 can be bound.
        loopback = ["chroot", str(root), "ip", "link", "set", "lo", "up"]
        subprocess.run(inside(first, loopback), check=True)  # noqa: S603 - programs of ours
        return first

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Stop it, and remove its cgroups and folders."""
        self.stop()
        _remove(self.name)
        os.close(self._lock)


@contextlib.contextmanager
def temporary_machine() -> Iterator[Machine]:
    """Give a machine; close it in any case, without interruption."""
    remove_leftovers()
    machine = Machine()
    try:
        yield machine
    finally:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_IGN)
        machine.close()


def inside(first: int, command: Sequence[str]) -> list[str]:
    """A command that runs in the machine's namespaces, but sees the files of this one."""
    enter = ["nsenter", f"--target={first}", "--pid", "--net", "--uts", "--ipc"]
    return [*enter, "unshare", "--mount", "--mount-proc", "--propagation=private", *command]


def make_cgroup(name: str) -> None:
    for controller in _controllers():
        (controller / name).mkdir()


def remove_leftovers() -> None:
    for folder in _DISK.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _lock(folder)
            _remove(folder.name)
            os.close(lock)


def _first(parent: int) -> int | None:
    """Return process 1 once it runs its program."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    if children and Path(f"/proc/{children[0]}/comm").read_text(encoding="ascii") == f"{_INIT}\n":
        return int(children[0])
    return None


def _lock(folder: Path) -> int:
    """Lock a folder that is in use, or raise BlockingIOError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _controllers() -> list[Path]:
    """The cgroup hierarchies: one, or one per controller with cgroup v1."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    mounts = [line.split(" ") for line in lines]
    return [Path(where) for _, where, kind, *_ in mounts if kind in {"cgroup", "cgroup2"}]


def _remove(name: str) -> None:
    """Remove cgroups, which takes until their last process is gone, and folders."""
    deadline = time.monotonic() + TIMEOUT
    for controller in _controllers():
        top = controller / name
        while top.exists():
            for folder in (*sorted(top.rglob("*/"), reverse=True), top):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if top.exists():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{top} could not be removed: processes remain in it")
                time.sleep(0.1)
    for place in (_MEMORY, _DISK):
        shutil.rmtree(place / name, ignore_errors=True)
