"""Node plugins that end themselves with SIGKILL at a chosen step, or wait for somebody to do it.

Run as a module it is a zygote: it has imported everything, starts no thread, and forks one process
per line of its standard input. So a plugin is there in no time, and is a process of its own.

A step is a system call that changes the node: seen by an audit hook where Python makes it, by a
wrapper where ctypes does. A new call of either kind is a new step without anybody's doing.
"""

import ctypes
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from csidriver.adapters import mounts
from csidriver.adapters.clock import SystemClock
from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.mounts import Mounts
from csidriver.config import NodeSettings
from csidriver.demo import sandbox
from csidriver.node import tokenfile
from csidriver.node.plugin import NodePlugin

CHANGES = {"mkdir", "rename", "link", "symlink", "remove", "rmdir", "chmod", "chown", "truncate"}
# The step after the last one: the call has succeeded, the answer is not on its way yet.
ANSWER = "answer"
_write = os.write


@dataclass(frozen=True, slots=True)
class Doom:
    """Where a process is to die: before the `at`-th step, from 0, of its threads named `thread`...

    Steps are those below `root`; their names go to the file `steps`.
    """

    root: str
    steps: str
    thread: str
    at: int = -1


class Steps:
    """Writes down every step, and ends the process before the one it is not to make."""

    def __init__(self, doom: Doom) -> None:
        self._doom = doom
        self._count = 0
        self._lock = threading.Lock()
        self._out = os.open(doom.steps, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    def watch(self) -> None:
        """See everything from now on."""
        sys.addaudithook(self._audit)
        for name, function in vars(tokenfile).copy().items():
            if hasattr(function, "argtypes"):  # a function of ctypes
                setattr(tokenfile, name, self._around(name.strip("_"), function))
        for name in ("mount", "umount2"):
            setattr(mounts._libc, name, self._around(name, getattr(mounts._libc, name)))
        os.write = self._around("write", os.write)
        boundary = logging.getLogger("csidriver.node.error_interceptor")
        boundary.setLevel(logging.DEBUG)
        boundary.addHandler(Answers(self.step))

    def step(self, name: str) -> None:
        """The current thread is about to make a step."""
        if not threading.current_thread().name.startswith(self._doom.thread):
            return
        with self._lock:
            _write(self._out, f"{name}\n".encode())
            if self._count == self._doom.at:
                os.kill(os.getpid(), signal.SIGKILL)
            self._count += 1

    def _around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any) -> Any:
            named = " ".join([name, *map(str, arguments[1:])]) if name == "fcntl" else name
            self.step(named)
            result = function(*arguments)
            errno = ctypes.get_errno()
            self.step(f"{named} done")
            ctypes.set_errno(errno)
            return result

        return stepping

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        kind = event.removeprefix("os.")
        if event != "open" and kind not in CHANGES:
            return
        # Of two paths the second one is what appears; numbers are descriptors.
        place = arguments[1] if kind in ("rename", "link", "symlink") else arguments[0]
        path = f"/proc/self/fd/{place}" if isinstance(place, int) else os.fsdecode(place)
        path = str(Path(path).readlink()) if path.startswith("/proc/self/fd/") else path
        if path.startswith(f"{self._doom.root}/") or not path.startswith("/"):
            self.step(f"{kind} {_plain(path.replace(self._doom.root, '/NODE'))}")


class Answers(logging.Handler):
    """Takes the boundary's "OK" for the step it is."""

    def __init__(self, step: Callable[[str], None]) -> None:
        super().__init__()
        self._step = step

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().endswith(": OK"):
            self._step(ANSWER)


def _plain(path: str) -> str:
    """The end of a path, without what differs from run to run."""
    path = re.sub(r"/\.\d+(\d)$", r"/.socket-\1", path)
    path = re.sub(r"[0-9a-f]{32}", "VOLUME", path)
    return "/".join(path.split("/")[-2:])


def _live(command: Mapping[str, Any]) -> None:
    """What the command does for the role `node`, until a signal ends it."""
    sandbox.die_with_parent()
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    settings: dict[str, Any] = command["settings"]
    for name in ("kubelet_dir", "view"):
        settings[name] = Path(settings[name])
    store = DirectoryStore(Path(command["store"]), poll=0.005)
    plugin = NodePlugin(
        NodeSettings(**settings), store, Mounts(), SystemClock(), CollectorRegistry()
    )
    if command["doom"]:
        Steps(Doom(**command["doom"])).watch()
    plugin.run(threading.Event())


def _rewrite(command: Mapping[str, Any]) -> None:
    """Rewrite a file again and again, `plainly` or as the plugin does."""
    sandbox.die_with_parent()
    path = Path(command["rewrite"])
    contents = [content.encode() for content in command["contents"]]
    while True:
        for content in contents:
            if not command["plainly"]:
                tokenfile.rewrite(path, content)
                continue
            fd = os.open(path, os.O_WRONLY)
            os.pwrite(fd, content, 0)
            os.ftruncate(fd, len(content))
            os.close(fd)


def _fork(command: Mapping[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            (_rewrite if "rewrite" in command else _live)(command)
        except BaseException:
            logging.getLogger(__name__).exception("the victim has failed")
        finally:
            os._exit(1)
    return pid


def main() -> None:
    """Answer each command with one line: the pid of a new process, or how one has ended."""
    sandbox.die_with_parent()
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            answer = os.waitstatus_to_exitcode(os.waitpid(command["wait"], 0)[1])
        else:
            answer = _fork(command)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
