"""Two refreshers as on a cluster, with the rights of `deploy/`: one works, one stands by."""

import contextlib
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.processes import metrics_of, page_of, running
from tests.refresher.bench import Bench
from tests.waiting import until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "erin"
# Seconds after which a standby takes over: soon; and so late that a test that waits for it fails.
SHORT, LONG = 3.0, 60.0


def leads(log: Path) -> bool:
    return "oauth2_csi_refresher_leader 1.0" in metrics_of(log)


@pytest.mark.parametrize(("end", "term"), [(signal.SIGTERM, LONG), (signal.SIGKILL, SHORT)])
def test_the_standby_goes_on_and_no_token_is_presented_twice(
    cluster: Cluster, tmp_path: Path, end: signal.Signals, term: float
) -> None:
    """A stopped process releases its Lease, so that the next one need not wait."""
    cluster.reset_namespaces(NS)
    user = UserNamespace(cluster, NS)
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(Bench(tmp_path))

        def start(name: str) -> tuple["subprocess.Popen[bytes]", Path]:
            flags = cluster.refresher_flags(bench.issuers, tmp_path / name, name)
            flags += ["--lease-duration", str(term), "--lease-renew", str(term / 3)]
            return stack.enter_context(running("refresher", *flags))

        def seed(name: str) -> None:
            user.apply(name, bench.issuer.seed("my-app"))
            until(lambda: user.generation(name) == 2 and user.is_mirrored(name), name)

        first, first_log = start("first")
        until(lambda: leads(first_log), "the first leads", 60.0)
        seed("hello")
        _, log = start("second")
        until(lambda: page_of(log, "readyz") == (200, "ok\n"), "who stands by is ready")
        assert not leads(log)
        first.send_signal(end)
        until(lambda: leads(log), "the second works")
        user.refresh_repeatedly("hello", 2)
        seed("later")
        assert first.wait(10) == (0 if end == signal.SIGTERM else -end)
        assert set(bench.outcomes()) == {"rotated"}
        text = log.read_text("utf-8") + first_log.read_text("utf-8")
        assert not re.search("Traceback|not handled|failed", text), text
