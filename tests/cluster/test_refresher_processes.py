"""Two refreshers as on a cluster, with the rights of `deploy/`: one works, one stands by."""

import base64
import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.annotations import REFRESHED_AT, STATUS
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.processes import metrics_of, page_of, running
from tests.refresher.bench import Bench, manifest, until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS, TOKENS = "erin", "oauth2-csi-tokens"
# Seconds after which a standby takes over: soon; and so late that a test that waits for it fails.
SHORT, LONG = 3.0, 60.0


class Replicas(contextlib.ExitStack):
    """Refreshers of one cluster and the strict server they refresh at."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__()
        cluster.reset_namespaces(NS)
        self._cluster = cluster
        self._folder = folder
        self.user = UserNamespace(cluster, NS)
        self.bench = self.enter_context(Bench(folder))

    def start(
        self, name: str, spool: str = "", term: float = SHORT
    ) -> tuple["subprocess.Popen[bytes]", Path]:
        flags = ["--store", "kubernetes", "--kubeconfig", str(self._cluster.refresher)]
        flags += ["--issuers", str(self.bench.issuers), "--listen", "127.0.0.1:0"]
        flags += ["--lease-duration", str(term), "--lease-renew", str(term / 3)]
        flags += ["--spool-dir", str(self._folder / (spool or name)), "--identity", name]
        return self.enter_context(running("refresher", *flags))

    def seed(self, name: str) -> None:
        """A user's Secret, by kubectl."""
        token: Sensitive = self.bench.issuer.seed("my-app")
        text = json.dumps(manifest(name, token.reveal()))
        plane = self._cluster.plane
        plane.kubectl("apply", "--filename=-", f"--namespace={NS}", stdin=text)

    def secret(self, namespace: str, name: str) -> dict[str, Any]:
        path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        found: dict[str, Any] = self._cluster.plane.api("GET", path)
        return found

    def status(self, name: str) -> tuple[str, bool]:
        notes = self.secret(NS, name)["metadata"]["annotations"]
        return notes.get(STATUS, ""), REFRESHED_AT in notes


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
    until(lambda: leads(first_log))
    replicas.seed("hello")
    until(lambda: replicas.status("hello") == ("Ready", True), "the first works")
    _, log = replicas.start("second", term=term)
    until(lambda: page_of(log, "readyz") == (200, "ok\n"), "who stands by is ready")
    assert not leads(log)
    first.send_signal(end)
    until(lambda: leads(log), "the second works")
    replicas.user.refresh_repeatedly("hello", 2)
    replicas.seed("later")
    until(lambda: replicas.status("later") == ("Ready", True))
    assert first.wait(10) == (0 if end == signal.SIGTERM else -end)
    assert set(replicas.bench.outcomes()) == {"rotated"}
    text = log.read_text("utf-8") + first_log.read_text("utf-8")
    assert not re.search("Traceback|not handled|failed", text), text
    companion = replicas.secret(TOKENS, SourceRef(NS, "hello").companion)
    assert base64.b64decode(companion["data"]["access_token"])


def test_two_with_one_identity_do_not_take_each_other_for_themselves(replicas: Replicas) -> None:
    first, first_log = replicas.start("same", "one")
    until(lambda: leads(first_log))
    replicas.seed("hello")
    _, second_log = replicas.start("same", "two")
    until(lambda: page_of(second_log, "readyz") == (200, "ok\n"))
    until(lambda: replicas.status("hello") == ("Ready", True), "the first works")
    replicas.user.refresh_repeatedly("hello", 2)
    assert leads(first_log)
    assert not leads(second_log), "it stands by"
    first.kill()
    until(lambda: leads(second_log))
    assert set(replicas.bench.outcomes()) == {"rotated"}


def test_two_on_one_spool_do_not_work_at_once(replicas: Replicas) -> None:
    first, first_log = replicas.start("same")
    until(lambda: leads(first_log))
    _, second_log = replicas.start("same")
    until(lambda: page_of(second_log, "readyz")[0] == 503)
    assert "works with this --spool-dir" in page_of(second_log, "readyz")[1]
    first.kill()
    until(lambda: page_of(second_log, "readyz") == (200, "ok\n"))
    replicas.seed("hello")
    until(lambda: replicas.status("hello") == ("Ready", True))
