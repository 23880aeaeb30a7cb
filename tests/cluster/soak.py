"""Two refreshers under load; one of them is killed every few seconds.

`python -m tests.cluster.soak SECONDS [SEED]` kills for that time, waits until every token is ready
or lost, and compares the result with the log of an authorization server that rotates strictly.
"""

import contextlib
import itertools
import json
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from csidriver.core.status import Status
from csidriver.demo.issuer import DEMO_CLIENT
from csidriver.demo.presentation_log import Outcome
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import ControlPlane
from tests.cluster.tenants.measuring import Report
from tests.cluster.user_namespace import UserNamespace
from tests.issuer.faults import Delay
from tests.issuer.issuer import ScriptedIssuer
from tests.issuer.policy import Policy
from tests.processes import command
from tests.waiting import until

NS = "soak"
TOKENS = 100
LIFETIME = 20.0  # seconds: a token is refreshed every 8 to 10
KILL_PAUSE = (2.0, 5.0)  # seconds between two kills
ISSUER_DELAY = 0.2  # seconds an exchange takes
RECOVERY_TIMEOUT = 180.0  # seconds after the last kill until all tokens must be final
TERM = ("--lease-duration", "3", "--lease-renew", "1", "--takeover-after", "1")


class Pod:
    """One replica of the refresher, as a container that restarts in a pod."""

    def __init__(self, flags: Callable[[str], list[str]], name: str, log: Path) -> None:
        self._flags, self._name, self.log = flags, name, log
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        flags = self._flags(f"{self._name}.{self._number}")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command("refresher", *flags), stdout=log, stderr=log
            )

    def kill(self, *, pod: bool) -> None:
        """Kill the container, or the pod and with it the spool."""
        assert self._process is not None
        assert self._process.poll() is None, f"it has ended by itself: {self.log}"
        self._process.kill()
        self._process.wait()
        self._number += pod

    def close(self) -> None:
        """Let it finish what it has begun."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


class Soak(contextlib.ExitStack):
    """The running test: an authorization server, refreshers, and tokens."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int) -> None:
        super().__init__()
        cluster.reset_namespaces(NS)
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, as far as time allows
        self._user = UserNamespace(cluster, NS)
        self._tokens = [f"token-{number}" for number in range(TOKENS)]
        self._final: set[str] = set()
        policy = Policy(lifetime=LIFETIME)
        self._issuer = self.enter_context(ScriptedIssuer(clients=[DEMO_CLIENT], policy=policy))
        # The server is slow, so that a kill often hits a running request.
        self._issuer.add_faults(*[Delay(ISSUER_DELAY)] * 100_000)
        entry = {"name": "strict", "issuer": self._issuer.url, "internal": True, "default": True}
        entry |= {"reuse": "strict", "defaultLifetime": LIFETIME}
        issuers = folder / "issuers.yaml"
        issuers.write_text(json.dumps({"issuers": [entry]}))

        def flags(pod: str) -> list[str]:
            return [*cluster.refresher_flags(issuers, folder / pod, pod), *TERM]

        self._pods = [Pod(flags, name, folder / f"{name}.log") for name in ("one", "two")]
        for pod in self._pods:
            self.callback(pod.close)

    def run(self, seconds: float) -> Report:
        """Kill for so many seconds, wait for final tokens, and check them."""
        report = Report()
        for pod in self._pods:
            pod.start()
        for token in self._tokens:
            self._user.create(token, self._issuer.seed(DEMO_CLIENT.client_id))
        until(self._all_refreshed, "all are refreshed", 60.0, pause=0.5)
        report.add("kills", str(self._kill_for(seconds)))
        until(self._all_final, "all are settled", RECOVERY_TIMEOUT, pause=0.5)
        for pod in self._pods:
            pod.close()
            text = pod.log.read_text("utf-8")
            report.require(text[text.find("Traceback") :][:2000], holds="Traceback" not in text)
        self._check(report)
        return report

    def _all_refreshed(self) -> bool:
        # On a busy machine the first refresh may be lost.
        grants = [self._user.grant(token) for token in self._tokens]
        return all(g and (g.generation >= 2 or g.status is Status.LOST_ROTATION) for g in grants)

    def _all_final(self) -> bool:
        """Return True once each token was seen lost, or ready with a valid access token."""
        # Not all at the same moment: on a busy machine one of them is always being refreshed.
        self._final |= {t for t in self._tokens if t not in self._final and self._is_final(t)}
        return len(self._final) == len(self._tokens)

    def _is_final(self, token: str) -> bool:
        grant = self._user.grant(token)
        if grant is None or not self._user.is_final(token):
            return False
        return grant.status is Status.LOST_ROTATION or grant.expires_at > time.time()

    def _check(self, report: Report) -> None:
        """Require that none was presented again, and that a lost one is one that was committed."""
        log = self._issuer.presentations()
        counts = Counter(row.token_hash for row in log)
        for repeated in (token for token, count in counts.items() if count > 1):
            report.require(f"{repeated} is presented again", holds=False)
        committed = {row.token_hash for row in log if row.outcome == Outcome.ROTATED}
        ends: Counter[str] = Counter()
        for token in self._tokens:
            grant = self._user.grant(token)
            assert grant is not None
            ends[grant.status.value] += 1
            is_lost = grant.status is Status.LOST_ROTATION
            report.require(
                f"{token} is {grant.status.value}, and the server committed: {not is_lost}",
                holds=is_lost is (grant.live_hash in committed),
            )
        told = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
        report.add("tokens", f"{len(log)} presented; {told}")

    def _kill_for(self, seconds: float) -> int:
        """Return how often a process was killed."""
        end, pause = time.monotonic() + seconds, threading.Event()
        for kills in itertools.count():
            if time.monotonic() >= end:
                return kills
            pause.wait(self._rng.uniform(*KILL_PAUSE))
            pod = self._rng.choice(self._pods)
            pod.kill(pod=self._rng.random() < 0.5)
            pause.wait(self._rng.uniform(0.0, 1.0))
            pod.start()
        raise AssertionError


def main(seconds: float, seed: int) -> int:
    """Run one and print the result."""
    sys.stdout.write(f"seed {seed}, {seconds:.0f} s\n")
    with contextlib.closing(ControlPlane()) as plane, tempfile.TemporaryDirectory() as folder:
        plane.start()
        with Soak(Cluster(plane), Path(folder), seed) as soak:
            report = soak.run(seconds)
    sys.stdout.write(f"{report}\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    drawn = int(sys.argv[2]) if len(sys.argv) > 2 else secrets.randbelow(1 << 16)
    sys.exit(main(float(sys.argv[1]), drawn))
