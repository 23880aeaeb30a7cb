"""Node plugins that kill themselves with SIGKILL at a chosen step, or run until they are killed.

`python -m tests.node.killable_child` is a fork server: it imports everything, starts no thread, and
forks one process for each line of its standard input, so that a plugin starts fast.

A step is a system call that changes the node. An audit hook sees the calls of Python, wrappers see
the calls of ctypes. A new call of either kind becomes a new step by itself.
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
from csidriver.config import NodeLimits, NodeSettings
from csidriver.demo import sandbox
from csidriver.node import tokenfile
from csidriver.node.plugin import NodePlugin

FILE_OPERATIONS = {"mkdir", "rename", "link", "symlink", "remove", "rmdir"}
FILE_OPERATIONS |= {"chmod", "chown", "truncate"}
# The step after the last one: the call has succeeded, its response is not sent yet.
RESPONSE = "response"
_write = os.write


@dataclass(frozen=True, slots=True)
class KillPlan:
    """Kill the process before step `at` (from 0) of the threads whose names begin with `thread`.

    Only steps below `root` count. Their names go to the file `steps`.
    """

    root: str
    steps: str
    thread: str
    at: int = -1


class StepRecorder:
    """Writes the name of each step to a file, and kills the process before the planned step."""

    def __init__(self, plan: KillPlan) -> None:
        self._plan = plan
        self._count = 0
        self._lock = threading.Lock()
        self._out = os.open(plan.steps, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    def install(self) -> None:
        sys.addaudithook(self._audit)
        for name, function in vars(tokenfile).copy().items():
            if hasattr(function, "argtypes"):  # a function of ctypes
                setattr(tokenfile, name, self._recording(name.strip("_"), function))
        for name in ("mount", "umount2", "syscall"):
            setattr(mounts._libc, name, self._recording(name, getattr(mounts._libc, name)))
        os.write = self._recording("write", os.write)
        rpc_log = logging.getLogger("csidriver.node.error_interceptor")
        rpc_log.setLevel(logging.DEBUG)
        rpc_log.addFilter(self._sees_response)

    def record(self, name: str) -> None:
        """Record that the current thread is about to make a step."""
        if not threading.current_thread().name.startswith(self._plan.thread):
            return
        with self._lock:
            _write(self._out, f"{name}\n".encode())
            if self._count == self._plan.at:
                os.kill(os.getpid(), signal.SIGKILL)
            self._count += 1

    def _sees_response(self, line: logging.LogRecord) -> bool:
        if line.getMessage().endswith(": OK"):
            self.record(RESPONSE)
        return True

    def _recording(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any) -> Any:
            self.record(name)
            result = function(*arguments)
            errno = ctypes.get_errno()
            self.record(f"{name} done")
            ctypes.set_errno(errno)
            return result

        return stepping

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        operation = event.removeprefix("os.")
        if event != "open" and operation not in FILE_OPERATIONS:
            return
        # Of two paths the second one is new; a number is a descriptor.
        target = arguments[1] if operation in ("rename", "link", "symlink") else arguments[0]
        path = f"/proc/self/fd/{target}" if isinstance(target, int) else os.fsdecode(target)
        if re.fullmatch(r"/proc/self/fd/\d+", path):
            path = str(Path(path).readlink())
        # The plugin reaches its files through a mount without a path, where paths begin with "/".
        path = re.sub(
            r"^(/proc/self/fd/\d+)?/(?=[0-9a-f]{32}\b)", f"{self._plan.root}/tokens/", path
        )
        if path.startswith(f"{self._plan.root}/") or not path.startswith("/"):
            self.record(f"{operation} {_stable_name(path.replace(self._plan.root, '/NODE'))}")


def _stable_name(path: str) -> str:
    """Return the end of a path, without the parts that differ between runs."""
    path = re.sub(r"/\.\d+(\d)$", r"/.socket-\1", path)
    path = re.sub(r"[0-9a-f]{32}", "VOLUME", path)
    return "/".join(path.split("/")[-2:])


def _run_plugin(command: Mapping[str, Any]) -> None:
    sandbox.die_with_parent()
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    settings: dict[str, Any] = command["settings"]
    for name in ("kubelet_dir", "view"):
        settings[name] = Path(settings[name])
    settings["limits"] = NodeLimits(**settings["limits"])
    store = DirectoryStore(Path(command["store"]), poll=0.005)
    plugin = NodePlugin(
        NodeSettings(**settings), store, Mounts(), SystemClock(), CollectorRegistry()
    )
    if command["plan"]:
        StepRecorder(KillPlan(**command["plan"])).install()
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


def _run(command: Mapping[str, Any]) -> None:
    (_rewrite if "rewrite" in command else _run_plugin)(command)


def _fork(run: Callable[[Mapping[str, Any]], int | None], command: Mapping[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = run(command) or 0
        except BaseException:
            logging.getLogger(__name__).exception("the child has failed")
        finally:
            os._exit(status)
    return pid


def main(run: Callable[[Mapping[str, Any]], int | None] = _run) -> None:
    """Reply to each command with one line: the pid of a new process, or an exit status."""
    sandbox.die_with_parent()
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            reply = os.waitstatus_to_exitcode(os.waitpid(command["wait"], 0)[1])
        else:
            reply = _fork(run, command)
        sys.stdout.write(f"{reply}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
