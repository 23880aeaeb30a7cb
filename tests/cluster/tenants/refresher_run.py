"""A refresher with the chart's memory, between a hostile tenant and a victim at one issuer."""

import contextlib
import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from csidriver.core.annotations import MESSAGE
from csidriver.demo.issuer import DEMO_CLIENT
from tests.cluster.cluster import Cluster
from tests.cluster.installation import memory_limit
from tests.cluster.tenants.hostile_namespace import THROTTLED, HostileNamespace
from tests.cluster.tenants.measuring import Report
from tests.cluster.tenants.victim import Victim
from tests.cluster.user_namespace import UserNamespace
from tests.issuer.issuer import ScriptedIssuer
from tests.issuer.policy import Policy
from tests.memory_cgroup import memory_cgroup
from tests.processes import metrics_of, running
from tests.waiting import until

HOSTILE, VICTIM = "mallory", "victim"
PATIENCE = 1200.0
# Seconds; etcd is then told to forget old versions of the Secrets.
COMPACTION_PERIOD = 15


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a run. `most` is the cap of Secrets of a namespace, `more` are above it."""

    seconds: float = 400.0
    tokens: int = 100
    lifetime: float = 300.0
    most: int = 1000
    more: int = 50
    unparsable: int = 150
    edits_per_second: float = 20.0


class RefresherRun(contextlib.ExitStack):
    """The cluster around the refresher."""

    def __init__(self, cluster: Cluster, folder: Path, scale: Scale) -> None:
        super().__init__()
        cluster.reset_namespaces(HOSTILE, VICTIM)
        self._cluster, self._folder, self._scale = cluster, folder, scale
        policy = Policy(lifetime=scale.lifetime, throttled=THROTTLED)
        self._issuer = self.enter_context(ScriptedIssuer(clients=[DEMO_CLIENT], policy=policy))
        self._cgroup = self.enter_context(memory_cgroup("refresher", memory_limit("refresher")))
        self._user = UserNamespace(cluster, VICTIM)
        self._victim = Victim(self._user, scale.tokens, scale.lifetime)
        self._hostile = HostileNamespace(
            cluster.plane, HOSTILE, scale.most, scale.more, scale.unparsable
        )

    def run(self, report: Report) -> None:
        self.begin()
        with self.process() as log, self._hostile.edited(self._scale.edits_per_second):
            until(lambda: "oauth2_csi_refresher_leader 1.0" in metrics_of(log), timeout=PATIENCE)
            with self._victim.observed():
                self._wait(report)
            self._check(report, log)

    def begin(self) -> None:
        """Run a refresher until it serves the victim, and has told the hostile one all."""
        with self.process() as log:
            self._victim.create(self._issuer)
            until(self._victim.is_ready, "the victim's tokens", PATIENCE, pause=0.5)
            self._hostile.fill(self._issuer)
            self._await_cap(log)

    def start_again(self) -> None:
        """Run a refresher until it serves a new token, and everybody is told what is wrong."""
        with self.process():
            self._user.create("another", self._issuer.seed("my-app"))
            until(lambda: self._user.is_final("another"), "the victim's token", PATIENCE, 0.5)
            until(self._is_told, "the hostile tenant is told", PATIENCE, 5.0)
        assert self._cgroup.kills == 0

    def _is_told(self) -> bool:
        path = f"/api/v1/namespaces/{HOSTILE}/secrets"
        found = self._cluster.plane.api("GET", path)["items"]
        told = [each["metadata"]["annotations"].get(MESSAGE, "") for each in found]
        above = sum(f"has tokens of {self._scale.most} Secrets already" in text for text in told)
        large = sum("is larger than 32 KiB" in text for text in told)
        return (above, large) == (self._scale.more, self._scale.unparsable)

    def _wait(self, report: Report) -> None:
        """Wait for the time of the run, and until each token of the victim was refreshed."""
        began, before, seen = time.monotonic(), self._hostile.edits, self._victim
        deadline = began + self._scale.seconds + PATIENCE

        def is_over() -> bool:
            refreshed = len(seen.lateness) >= self._scale.tokens or bool(seen.expired)
            return refreshed and time.monotonic() >= began + self._scale.seconds

        pause = threading.Event()
        for second in itertools.count():
            if is_over() or time.monotonic() >= deadline:
                break
            if second % COMPACTION_PERIOD == 0:
                self._cluster.plane.compact()
            pause.wait(1.0)
        edits = (self._hostile.edits - before) / (time.monotonic() - began)
        report.add("edits of the hostile tenant", f"{edits:.1f} each second")

    def _check(self, report: Report, log: Path) -> None:
        victim, cgroup = self._victim, self._cgroup
        count = len(victim.lateness)
        report.add_lateness("lateness of the victim", victim.lateness)
        report.add("token requests, both tenants", self._outcomes())
        report.add("memory of the refresher", f"{cgroup.peak:.0f} MiB at most")
        report.require(f"expired: {sorted(victim.expired)}", holds=not victim.expired)
        report.require(f"only {count} refreshes", holds=count >= self._scale.tokens)
        report.require("the refresher was killed for its memory", holds=cgroup.kills == 0)
        text = log.read_text(encoding="utf-8")
        report.require(text[-2000:], holds="Traceback" not in text)

    def _outcomes(self) -> str:
        counts = Counter(str(row.outcome) for row in self._issuer.presentations())
        return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))

    @contextlib.contextmanager
    def process(self) -> Iterator[Path]:
        """Run the refresher; it must not have ended before the block has."""
        issuers, spool = self._folder / "issuers.yaml", self._folder / "spool"
        entry = {"name": "demo", "issuer": self._issuer.url, "default": True, "internal": True}
        issuers.write_text(json.dumps({"issuers": [entry]}), encoding="utf-8")
        flags = self._cluster.refresher_flags(issuers, spool)
        flags += [f"--tokens-per-namespace={self._scale.most}"]
        with running("refresher", *flags, prefix=self._cgroup.prefix) as (process, log):
            try:
                yield log
            finally:
                ended = process.poll()
                assert ended is None, f"exit {ended}: {log.read_text('utf-8')[-2000:]}"
            process.terminate()
            assert process.wait(60) == 0, log.read_text("utf-8")[-2000:]

    def _await_cap(self, log: Path) -> None:
        tokens = re.compile(r'^oauth2_csi_refresher_tokens\{status="\w+"\} (\S+)$', re.MULTILINE)
        enough = self._scale.most + self._scale.tokens

        def count() -> bool:
            return sum(map(float, tokens.findall(metrics_of(log)))) >= enough

        until(count, f"{enough} tokens", PATIENCE, pause=0.5)
