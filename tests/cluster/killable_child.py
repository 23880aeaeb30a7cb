"""Refreshers that kill themselves with SIGKILL at a chosen step, or run until they are killed.

Run as a module it is a fork server, like `tests.node.killable_child`.

A step is an effect of the protocol that leaves the process, a change of the spool's folder, or a
part of a request to the authorization server. The effects come from the interpreter's own table, so
that a new effect becomes a new step by itself.
"""

import http.client
import os
import sys
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
from tests.node.killable_child import KillPlan, StepRecorder, main

# A role imports these only when it starts; here they are loaded before the first fork.
IMPORTED = (directory, exchanges, issuer_files, kubernetes, probe_server, controller, spool)
# Effects within the process: a kill before one equals a kill before the next step.
IN_PROCESS_EFFECTS = {
    *(effects.Now, effects.Monotonic, effects.Nonce),
    *(effects.AcquireSendSlot, effects.ReleaseSendSlot, effects.FindDuplicates),
}
SPOOL_OPERATIONS = {"open", "os.rename", "os.remove"}
RECONCILED = "reconciled"


@dataclass(frozen=True, slots=True)
class RefresherKillPlan(KillPlan):
    """The spool is the root; `port` is that of the authorization server."""

    port: int = 0


class RefresherStepRecorder(StepRecorder):
    def __init__(self, plan: RefresherKillPlan) -> None:
        super().__init__(plan)
        self._spool, self._port = plan.root, plan.port

    def install(self) -> None:
        table: Mapping[type, Callable[..., Any]] = effect_interpreter._HANDLERS
        effect_interpreter._HANDLERS = {
            kind: do if kind in IN_PROCESS_EFFECTS else self._performing(kind.__name__, do)
            for kind, do in table.items()
        }
        run = effect_interpreter.EffectRunner.run

        def running(performance: Any, steps: Any) -> Any:
            result = run(performance, steps)
            self.record(RECONCILED)
            return result

        setattr(effect_interpreter.EffectRunner, "run", running)  # noqa: B010 - mypy takes no other way
        sys.addaudithook(self._audit)

    def _performing(self, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(performance: Any, effect: Any) -> Any:
            self.record(f"{name}{_secret_kind(effect)}")
            return do(performance, effect)

        return stepping

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in SPOOL_OPERATIONS:
            path = str(arguments[0])
            if path.startswith(f"{self._spool}/"):
                self.record(f"{event.removeprefix('os.')} {Path(path).suffix}")
        elif event == "http.client.connect" and arguments[2] == self._port:
            self.record("connect")
        elif event == "http.client.send" and _port(arguments[0]) == self._port:
            self.record("send")


def _port(connection: http.client.HTTPConnection) -> int | None:
    return connection.port


def _secret_kind(effect: Any) -> str:
    """Return which of a token's Secrets a step concerns."""
    secret = getattr(effect, "base", None) or getattr(effect, "secret", None)
    name = str(getattr(effect, "name", "") or getattr(secret, "name", ""))
    kind = name.partition("-")[0] if name.startswith(("grant-", "token-")) else "source"
    return f" {kind}" if name else ""


def _run_refresher(command: Mapping[str, Any]) -> int:
    sandbox.die_with_parent()
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    if command["plan"]:
        RefresherStepRecorder(RefresherKillPlan(**command["plan"])).install()
    return cli.main(command["arguments"])


if __name__ == "__main__":
    main(_run_refresher)
