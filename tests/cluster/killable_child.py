"""Refreshers that end themselves with SIGKILL at a chosen step of a visit, or wait to be killed.

Run as a module it is a fork server, like `tests.node.killable_child`: it imports everything, starts
no thread, and forks one process per line of its standard input, which runs `refresher`.

A step is an effect of the protocol that leaves the process, a change to the spool's folder, or a
part of a request to the authorization server. The effects come from the interpreter's own table, so
that a new one is a new step without anybody's doing.
"""

import http.client
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csidriver import cli
from csidriver.adapters import directory, issuer_files, kubernetes, probe_server
from csidriver.adapters import oauth as exchanges
from csidriver.core.refresh import effects
from csidriver.demo import sandbox
from csidriver.refresher import controller, effect_interpreter, spool

# What a role imports only when it starts is here before the first fork.
IMPORTED = (directory, exchanges, issuer_files, kubernetes, probe_server, controller, spool)
# Effects that stay within the process: to die before one is to die before the next one that counts.
INNER = {
    *(effects.Now, effects.Monotonic, effects.Nonce, effects.Wait, effects.YieldWorker),
    *(effects.AcquireSendSlot, effects.ReleaseSendSlot, effects.FindDuplicates),
}
SPOOLED = {"open", "os.rename", "os.remove"}
OVER = "visit over"


@dataclass(frozen=True, slots=True)
class Doom:
    """Where a process is to die: before the `at`-th step, from 0, of its workers; -1: nowhere.

    Their names go to the file `steps`.
    """

    spool: str
    steps: str
    port: int
    at: int


class Steps:
    """Writes down every step, and ends the process before the one it is not to make."""

    def __init__(self, doom: Doom) -> None:
        self._doom = doom
        self._count = 0
        self._lock = threading.Lock()
        self._out = os.open(doom.steps, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    def watch(self) -> None:
        """See everything from now on."""
        table: Mapping[type, Callable[..., Any]] = effect_interpreter._HANDLERS
        effect_interpreter._HANDLERS = {
            kind: do if kind in INNER else self._before(kind.__name__, do)
            for kind, do in table.items()
        }
        run = effect_interpreter.EffectRunner.run

        def running(performance: Any, steps: Any) -> Any:
            result = run(performance, steps)
            self.step(OVER)
            return result

        setattr(effect_interpreter.EffectRunner, "run", running)  # noqa: B010 - mypy takes no other way
        sys.addaudithook(self._audit)

    def step(self, name: str) -> None:
        """The current thread is about to make a step."""
        if not threading.current_thread().name.startswith("refresh-"):
            return
        with self._lock:
            os.write(self._out, f"{name}\n".encode())
            if self._count == self._doom.at:
                os.kill(os.getpid(), signal.SIGKILL)
            self._count += 1

    def _before(self, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(performance: Any, effect: Any) -> Any:
            self.step(f"{name}{_object(effect)}")
            return do(performance, effect)

        return stepping

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in SPOOLED:
            path = str(arguments[0])
            if path.startswith(f"{self._doom.spool}/"):
                self.step(f"{event.removeprefix('os.')} {Path(path).suffix}")
        elif event == "http.client.connect" and arguments[2] == self._doom.port:
            self.step("connect")
        elif event == "http.client.send" and _port(arguments[0]) == self._doom.port:
            self.step("send")


def _port(connection: http.client.HTTPConnection) -> int | None:
    return connection.port


def _object(effect: Any) -> str:
    """Which of a token's Secrets a step is about; names differ from case to case."""
    secret = getattr(effect, "base", None) or getattr(effect, "secret", None)
    name = str(getattr(effect, "name", "") or getattr(secret, "name", ""))
    kind = name.partition("-")[0] if name.startswith(("grant-", "token-")) else "source"
    return f" {kind}" if name else ""


def _live(command: Mapping[str, Any]) -> int:
    sandbox.die_with_parent()
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    if command["doom"]:
        Steps(Doom(**command["doom"])).watch()
    return cli.main(command["arguments"])


def _fork(command: Mapping[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = _live(command)
        except BaseException:
            logging.getLogger(__name__).exception("the victim has failed")
        finally:
            os._exit(status)
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
