"""Two refreshers under load; one of them is killed every few seconds.

`python -m tests.cluster.soak SECONDS [SEED]` kills for that time, waits until every token is ready
or lost, and compares the result with the logs of two authorization servers: one rotates strictly,
the other has a reuse window of 60 seconds.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from csidriver.core.refresh.grant import Grant
from csidriver.core.status import Status
from csidriver.demo.issuer import DEMO_CLIENT
from csidriver.demo.presentation_log import Outcome, Presentation
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import ControlPlane, is_missing
from tests.cluster.tenants.measuring import Report
from tests.cluster.user_namespace import UserNamespace
from tests.issuer.faults import Delay
from tests.issuer.issuer import ScriptedIssuer
from tests.issuer.policy import Policy, PolicyOutcome
from tests.processes import command
from tests.refresher.bench import until

NS = "soak"
TOKENS = 50  # for each server
LIFETIME = 20.0  # seconds: a token is refreshed every 8 to 10
GRACE = {"strict": 0.0, "window": 60.0}
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


class IssuerTokens:
    """The tokens of one authorization server; `grace` is its reuse window in seconds."""

    def __init__(self, name: str, user: UserNamespace, grace: float) -> None:
        self.name, self._user, self._grace = name, user, grace
        policy = Policy(lifetime=LIFETIME, grace=grace)
        self.issuer = ScriptedIssuer(clients=[DEMO_CLIENT], policy=policy)
        # The server is slow, so that a kill often hits a running request.
        self.issuer.add_faults(*[Delay(ISSUER_DELAY)] * 100_000)
        self._tokens = [f"{name}-{number}" for number in range(TOKENS)]
        self._final: set[str] = set()

    def entry(self) -> dict[str, Any]:
        """Return the issuer's configuration."""
        reuse = {"window": self._grace} if self._grace else "strict"
        own = {"name": self.name, "issuer": self.issuer.url, "internal": True, "reuse": reuse}
        return own | {"defaultLifetime": LIFETIME}

    def seed(self) -> None:
        for token in self._tokens:
            self._user.create(token, self.issuer.seed("my-app"), issuer=self.name)

    def all_refreshed(self) -> bool:
        return all(map(self._was_refreshed, self._tokens))

    def _was_refreshed(self, token: str) -> bool:
        # On a busy machine the first refresh may be lost.
        grant = self._user.grant(token)
        return grant is not None and (grant.generation >= 2 or grant.status is Status.LOST_ROTATION)

    def all_final(self) -> bool:
        """Return True once each token was seen lost, or ready with a valid access token."""
        # Not all at the same moment: on a busy machine one of them is always being refreshed.
        self._final |= {t for t in self._tokens if t not in self._final and self._is_final(t)}
        return len(self._final) == len(self._tokens)

    def _is_final(self, token: str) -> bool:
        grant = self._user.grant(token)
        if grant is None or not self._user.is_final(token):
            return False
        return grant.status is Status.LOST_ROTATION or grant.expires_at > time.time()

    def check(self, report: Report) -> None:
        log, by_token = self.issuer.presentations(), dict[str, list[Presentation]]()
        for row in log:
            by_token.setdefault(row.token_hash, []).append(row)
        report.violations += [text for rows in by_token.values() for text in self._repeats(rows)]
        ends: Counter[str] = Counter()
        for token in self._tokens:
            grant = self._user.grant(token)
            assert grant is not None
            ends[grant.status.value] += 1
            report.violations += self._end(token, grant, by_token.get(grant.live_hash, []))
        counts = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
        repeated = len(log) - len(by_token)
        report.add(self.name, f"{len(log)} presented, {repeated} again; {counts}")

    def _repeats(self, rows: Sequence[Presentation]) -> Iterator[str]:
        """Yield the forbidden repeats (protocol, section 4).

        A spent token may only be presented within the reuse window: introspection answers the rest.
        """
        for row in rows[1:]:
            late = row.presented_at - rows[0].presented_at
            if row.outcome != PolicyOutcome.REUSED or late > self._grace:
                outcome = f"{row.token_hash} is presented after {late:.1f} s: {row.outcome}"
                yield f"{self.name}: {outcome}"

    def _end(self, token: str, grant: Grant, rows: Sequence[Presentation]) -> Iterator[str]:
        """Compare the final grant with `rows`, the presentations of its live token."""
        committed = any(row.outcome == Outcome.ROTATED for row in rows)
        if grant.status is Status.LOST_ROTATION and self._grace:
            yield f"{token} is lost, though its server has a window"
        if (grant.status is Status.LOST_ROTATION) is not committed:
            yield f"{token} is {grant.status.value}, and the server committed: {committed}"


class Soak(contextlib.ExitStack):
    """The running test: authorization servers and refreshers."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int) -> None:
        super().__init__()
        cluster.reset_namespaces(NS)
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, as far as time allows
        user = UserNamespace(cluster, NS)
        self._issuers = [IssuerTokens(name, user, grace) for name, grace in GRACE.items()]
        for served in self._issuers:
            self.enter_context(served.issuer)
        issuers = folder / "issuers.yaml"
        issuers.write_text(json.dumps({"issuers": [s.entry() for s in self._issuers]}))

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
        for served in self._issuers:
            served.seed()
        self._until(IssuerTokens.all_refreshed, "all are refreshed", 60.0)
        report.add("kills", str(self._kill_for(seconds)))
        self._until(IssuerTokens.all_final, "all are settled", RECOVERY_TIMEOUT)
        for pod in self._pods:
            pod.close()
            text = pod.log.read_text("utf-8")
            report.require(text[text.find("Traceback") :][:2000], holds="Traceback" not in text)
        for served in self._issuers:
            served.check(report)
        return report

    def _until(
        self, holds: Callable[[IssuerTokens], bool], description: str, timeout: float
    ) -> None:
        until(lambda: all(map(holds, self._issuers)), description, timeout, pause=0.5)

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
    if is_missing():
        return 1
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
