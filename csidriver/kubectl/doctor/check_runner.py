"""Runs checks at the same time and within a time, whatever some of them wait for."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from csidriver.errors import DriverError
from csidriver.kubectl.doctor.finding import Finding, problem, warning
from csidriver.kubectl.errors import Forbidden, NotFound

_ASK = "ask an administrator of the cluster to run: kubectl oauth2-csi doctor"
INSTALL = "install the driver there, or name its namespace with --driver-namespace"


@dataclass(frozen=True, slots=True)
class Check:
    """A question; `subject` is of what it reads, for the case that the user may not."""

    section: str
    name: str
    subject: str
    find: Callable[[], Iterable[Finding]]


Answers = Sequence[tuple[Check, Sequence[Finding]]]


def run_checks(checks: Sequence[Check], seconds: float) -> Answers:
    """Return the findings of all checks, in their order, after at most this time."""
    results: queue.Queue[tuple[int, list[Finding]]] = queue.Queue()
    for i, check in enumerate(checks):
        threading.Thread(target=_run, args=(i, check, results), daemon=True).start()
    found: dict[int, list[Finding]] = {}
    deadline = time.monotonic() + seconds
    while len(found) < len(checks):
        try:
            i, findings = results.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[i] = findings
    late = f"there was no answer within {seconds:.0f} s"
    return [
        (check, found.get(i, [problem(check.name, f"{check.subject}: {late}")]))
        for i, check in enumerate(checks)
    ]


def _run(i: int, check: Check, results: "queue.Queue[tuple[int, list[Finding]]]") -> None:
    results.put((i, _findings(check)))


def _findings(check: Check) -> list[Finding]:
    try:
        return list(check.find())
    except Forbidden:
        return [warning(check.name, f"you may not see {check.subject}", _ASK)]
    except NotFound as error:
        return [problem(check.name, str(error), INSTALL)]
    except DriverError as error:
        return [problem(check.name, str(error))]
    except Exception as error:  # noqa: BLE001 - the other findings are worth more than a traceback
        text = f"{check.subject} cannot be understood ({type(error).__name__})"
        return [problem(check.name, text)]
