"""Every port of every role with the chart's memory, each under 64 rude clients at once."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.tenants.limits import memory_limit
from tests.cluster.tenants.report import Report, spread
from tests.memory_cgroup import memory_cgroup
from tests.processes import page_of
from tests.refresher.bench import until
from tests.role_ports import Ask, ReviewPort, ask_for, port_of, role, timed
from tests.rude_clients import RudeClients, connect_to

CLIENTS = 64
ROLES = ("refresher", "node", "webhook")
# Seconds that kubelet, Prometheus and the API server wait for an answer.
PATIENCE = {"health": 5.0, "metrics": 10.0, "reviews": 5.0}
ASK_PERIOD = 0.5  # seconds


def run(seconds: float, report: Report, say: Callable[[str], object]) -> None:
    """Let rude clients come to one role after another."""
    for name in ROLES:
        say(f"{CLIENTS} rude clients at every port of the {name}")
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            limit = memory_limit(name)
            cgroup = stack.enter_context(memory_cgroup(name, limit))
            _, log = stack.enter_context(role(name, folder, cgroup.prefix))
            for what, samples in _measure(name, log, seconds).items():
                report.add(f"{what} of the {name}, rude clients", spread(samples))
                late = max(samples) >= PATIENCE[what]
                report.require(f"{what} of the {name} comes too late", holds=not late)
            report.add(f"memory of the {name}, rude clients", f"{cgroup.peak:.0f} MiB at most")
            report.require(f"the {name} was killed for its memory", holds=cgroup.kills == 0)


def _measure(name: str, log: Path, seconds: float) -> dict[str, list[float]]:
    """Return the seconds of all answers; one that fails takes infinitely long."""
    until(lambda: page_of(log, "healthz")[0] == 200)
    asks: dict[str, Ask] = {what: ask_for(log, what) for what in ("health", "metrics")}
    with contextlib.ExitStack() as stack:
        connects = [connect_to("127.0.0.1", port_of(log, what)) for what in asks]
        if name == "webhook":
            until(lambda: page_of(log, "readyz")[0] == 200)
            port = ReviewPort(log)
            connects += [port.plain, port.secure]
            asks["reviews"] = port.review
        for connect in connects:
            rude = stack.enter_context(RudeClients(connect, count=CLIENTS))
            until(lambda rude=rude: rude.opened > CLIENTS)  # type: ignore[misc]
        samples: dict[str, list[float]] = {what: [] for what in asks}
        pause, end = threading.Event(), time.monotonic() + seconds
        while time.monotonic() < end:
            for what, ask in asks.items():
                samples[what].append(_seconds(ask))
            pause.wait(ASK_PERIOD)
    return samples


def _seconds(ask: Ask) -> float:
    try:
        status, seconds = timed(ask)
    except OSError:
        return float("inf")
    return seconds if status == 200 else float("inf")
