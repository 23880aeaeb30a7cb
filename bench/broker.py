"""What 1,000 nodes cost one broker, and how soon all of them have a new token.

The API server is scripted (`scripted_api.py`), the nodes are in one process (`simulated_nodes.py`);
streams, TLS and the broker are real. On two cores nodes and broker take turns.
"""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.child import Child, child
from bench.process import cpu_of, environment, memory_of
from bench.room import MEMORY
from bench.rows import Row, over_rounds
from bench.scripted_objects import PODS
from bench.simulated_nodes import HOST
from csidriver.errors import DriverError
from csidriver.webhook.x509 import CertificateFactory
from tests.cluster.kubectl import write_kubeconfig

NODES, QUICK_NODES = 1000, 100
CHANGES = 5
REFUSED_PER_SECOND = 100
# Seconds: at most for all nodes and for a change; of doing nothing.
START_LIMIT, CHANGE_LIMIT = 180.0, 15.0
WINDOW, QUICK_WINDOW = 60.0, 10.0
# Before each change; between two looks.
_PAUSE = 1.0
_CERTIFICATE, _KEY, _AUTHORITY = (MEMORY / name for name in ("tls.crt", "tls.key", "ca.crt"))


@dataclass(frozen=True, slots=True)
class Bench:
    """All processes, and the number of nodes."""

    api: Child
    broker: Child
    nodes: Child
    target: str
    count: int

    def status(self, generation: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.nodes.ask(generation))
        return found

    def change(self) -> list[float]:
        """Bring a new token; return the seconds until each node had it."""
        time.sleep(_PAUSE)
        generation, began = self.api.ask("change").split()
        deadline = time.monotonic() + CHANGE_LIMIT
        while len(times := self.status(int(generation))["times"]) < self.count:
            if time.monotonic() > deadline:
                raise DriverError(f"{len(times)} of {self.count} nodes have the new token")
            time.sleep(_PAUSE)
        return [at - float(began) for at in times]


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Start a broker whose nodes wait for it; change a token, do nothing, be called by others."""
    with ExitStack() as stack:
        bench, began = _started(stack, QUICK_NODES if quick else NODES)
        say(f"{bench.count} nodes connect to a broker that starts")
        yield Row("broker_all_nodes_s", _wait_for_all(bench) - began)
        yield Row("broker_start_cpu_s", cpu_of(bench.broker.pid))
        yield Row("broker_connections", _connections(bench.target))
        say(f"{CHANGES} new tokens for all of them")
        changes = [bench.change() for _ in range(CHANGES)]
        yield over_rounds("broker_fanout_p99_s", changes, 0.99)
        yield over_rounds("broker_fanout_p50_s", changes)
        say("doing nothing")
        yield from _idle(bench, QUICK_WINDOW if quick else WINDOW)
        yield Row("broker_rss_mib", _rss(bench))
        say(f"{CHANGES} new tokens beside {REFUSED_PER_SECOND} refused connections a second")
        yield from _refused(stack, bench)
        yield Row("broker_refused_rss_mib", _rss(bench))


def _started(stack: ExitStack, count: int) -> tuple[Bench, float]:
    """Start everything, the broker last; return that instant, too."""
    _write_certificates()
    log = MEMORY / "log"

    def run(*arguments: str) -> Child:
        return stack.enter_context(child(["-m", *arguments], environment(MEMORY), log))

    api = run("bench.scripted_api", str(_CERTIFICATE), str(_KEY))
    kubeconfig = MEMORY / "kubeconfig"
    write_kubeconfig(kubeconfig, f"https://{HOST}:{api.line().strip()}", _AUTHORITY, "token")
    with socket.create_server(("127.0.0.1", 0)) as free:
        target = f"127.0.0.1:{free.getsockname()[1]}"
    nodes = run("bench.simulated_nodes", target, str(_AUTHORITY), str(count))
    nodes.ask(0)
    # The image has byte code.
    run("bench.steady_broker", "compile").line()
    began = time.monotonic()
    broker = run(
        *("bench.steady_broker", "broker", "--store", "kubernetes"),
        *("--kubeconfig", str(kubeconfig), "--listen", "127.0.0.1:0", "--broker-listen", target),
        *("--tls-cert-file", str(_CERTIFICATE), "--tls-key-file", str(_KEY)),
    )
    return Bench(api, broker, nodes, target, count), began


def _write_certificates() -> None:
    pki, now = CertificateFactory(), time.time()
    authority, signing_key = pki.new_authority(now, 7200.0)
    made, key = pki.issue_serving_certificate(authority, signing_key, [HOST], now, 3600.0)
    for path, text in ((_CERTIFICATE, made.pem), (_KEY, key.reveal()), (_AUTHORITY, authority.pem)):
        path.write_text(text, encoding="ascii")


def _wait_for_all(bench: Bench) -> float:
    """Return the instant at which each subscription had an answer, to a tenth of a second."""
    deadline = time.monotonic() + START_LIMIT
    while (status := bench.status())["answered"] < bench.count * PODS:
        if time.monotonic() > deadline:
            raise DriverError(f"{status['streams']} streams, {status['answered']} answers")
        time.sleep(0.1)
    return time.monotonic()


def _connections(target: str) -> int:
    """Return the established connections to the broker, as the kernel counts them."""
    port = target.rpartition(":")[2]
    command = ["ss", "-Htn", "state", "established", f"sport = :{port}"]
    return len(subprocess.check_output(command, text=True).splitlines())  # noqa: S603


def _rss(bench: Bench) -> float:
    return memory_of(bench.broker.pid)["Rss"] / 1024


def _idle(bench: Bench, window: float) -> Iterator[Row]:
    time.sleep(_PAUSE)
    began, cpu, requests = time.monotonic(), cpu_of(bench.broker.pid), int(bench.api.ask("count"))
    time.sleep(window)
    took = time.monotonic() - began
    yield Row("broker_idle_cpu_percent", 100 * (cpu_of(bench.broker.pid) - cpu) / took)
    yield Row("broker_idle_requests_per_second", (int(bench.api.ask("count")) - requests) / took)


def _refused(stack: ExitStack, bench: Bench) -> Iterator[Row]:
    arguments = ["-m", "bench.refused_callers", bench.target, str(_AUTHORITY)]
    arguments.append(str(REFUSED_PER_SECOND))
    others = stack.enter_context(child(arguments, environment(MEMORY), MEMORY / "log"))
    time.sleep(_PAUSE)
    began, cpu, before = time.monotonic(), cpu_of(bench.broker.pid), int(others.ask(""))
    changes = [bench.change() for _ in range(CHANGES)]
    took = time.monotonic() - began
    yield over_rounds("broker_refused_fanout_p99_s", changes, 0.99)
    yield Row("broker_refused_per_second", (int(others.ask("")) - before) / took)
    yield Row("broker_refused_cpu_percent", 100 * (cpu_of(bench.broker.pid) - cpu) / took)
