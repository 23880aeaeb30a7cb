"""Two refreshers as on a cluster, with the rights of `deploy/`: one works, one stands by."""

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.processes import metrics_of, page_of, running
from tests.refresher.bench import Bench, until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "erin"
# Seconds after which a standby takes over: soon; and so late that a test that waits for it fails.
SHORT, LONG = 3.0, 60.0


class Replicas(contextlib.ExitStack):
    """Refreshers of one cluster and the strict server they refresh at."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__()
        cluster.reset_namespaces(NS)
        self._cluster, self._folder = cluster, folder
        self.user = UserNamespace(cluster, NS)
        self.bench = self.enter_context(Bench(folder))

    def start(
        self, name: str, spool: str = "", term: float = SHORT
    ) -> tuple["subprocess.Popen[bytes]", Path]:
        folder = self._folder / (spool or name)
        flags = self._cluster.refresher_flags(self.bench.issuers, folder, name)
        flags += ["--lease-duration", str(term), "--lease-renew", str(term / 3)]
        return self.enter_context(running("refresher", *flags))

    def seed(self, name: str) -> None:
        """Create a user's Secret, and wait until it is refreshed."""
        self.user.apply(name, self.bench.issuer.seed("my-app"))
        until(lambda: self.user.generation(name) == 2 and self.user.is_mirrored(name), name)


@pytest.fixture
def replicas(cluster: Cluster, tmp_path: Path) -> Iterator[Replicas]:
    with Replicas(cluster, tmp_path) as all_of_them:
        yield all_of_them


def leads(log: Path) -> bool:
    return "oauth2_csi_refresher_leader 1.0" in metrics_of(log)


@pytest.mark.parametrize(("end", "term"), [(signal.SIGTERM, LONG), (signal.SIGKILL, SHORT)])
def test_the_standby_goes_on_and_no_token_is_presented_twice(
    replicas: Replicas, end: signal.Signals, term: float
) -> None:
    """A stopped process releases its Lease, so that the next one need not wait."""
    first, first_log = replicas.start("first", term=term)
    until(lambda: leads(first_log), "the first leads", 60.0)
    replicas.seed("hello")
    _, log = replicas.start("second", term=term)
    until(lambda: page_of(log, "readyz") == (200, "ok\n"), "who stands by is ready")
    assert not leads(log)
    first.send_signal(end)
    until(lambda: leads(log), "the second works")
    replicas.user.refresh_repeatedly("hello", 2)
    replicas.seed("later")
    assert first.wait(10) == (0 if end == signal.SIGTERM else -end)
    assert set(replicas.bench.outcomes()) == {"rotated"}
    text = log.read_text("utf-8") + first_log.read_text("utf-8")
    assert not re.search("Traceback|not handled|failed", text), text


@pytest.mark.parametrize("spool", ["another", "one"])
def test_two_of_one_name_do_not_work_at_once(replicas: Replicas, spool: str) -> None:
    first, first_log = replicas.start("same", "one")
    until(lambda: leads(first_log), "the first leads", 60.0)
    _, second_log = replicas.start("same", spool)

    def stands_by() -> bool:
        status, text = page_of(second_log, "readyz")
        if spool == "one":
            return status == 503 and "works with this --spool-dir" in text
        return status == 200 and not leads(second_log)

    until(stands_by)
    replicas.seed("hello")
    replicas.user.refresh_repeatedly("hello", 2)
    assert leads(first_log)
    assert stands_by()
    first.kill()
    until(lambda: leads(second_log) and page_of(second_log, "readyz")[0] == 200)
    replicas.seed("later")
    assert set(replicas.bench.outcomes()) == {"rotated"}
