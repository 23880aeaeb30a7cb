"""The refresher with thousands of adopted tokens, on a real API server."""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.room import MEMORY
from bench.rows import Row
from bench.scale_fill import Aged, Filler, after_this_second
from bench.scale_issuer import IssuerProcess
from bench.scale_process import RefresherProcess
from bench.scale_reseed import RESEEDS, reseeded
from bench.servers import READS, WRITES, Reading, Servers, describe, refresh_requests
from csidriver.core import names
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.sensitive import Sensitive
from csidriver.demo.report import percentile
from csidriver.errors import DriverError
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tools.programs import find

TOKENS, QUICK_TOKENS = 10_000, 1_000
WINDOW, QUICK_WINDOW = 60.0, 15.0
# Seconds after the start in which caches warm and what became due meanwhile is done.
REST_SECONDS, QUICK_REST_SECONDS = 10.0, 4.0
# Seconds in which a visit to every token is paid for.
SWEEP, QUICK_SWEEP = 20.0, 6.0


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """All rows of the refresher at scale. Raises DriverError where a program is missing."""
    if missing := [name for name in PROGRAMS if find(name) is None]:
        raise DriverError(f"{', '.join(missing)} missing; run `make tools`")
    count = QUICK_TOKENS if quick else TOKENS
    plane = ControlPlane()
    try:
        say("starting etcd and kube-apiserver")
        plane.start()
        plane.install()
        lives = [Sensitive(secrets.token_urlsafe(32)) for _ in range(count)]
        logins = [Sensitive(secrets.token_urlsafe(32)) for _ in range(RESEEDS)]
        with IssuerProcess([*lives, *logins]) as issuer:
            aged = _fill(plane, issuer.url, lives, say)
            then = partial(reseeded, plane, issuer, aged, logins)
            yield from _watched(plane, issuer, aged, say, then, quick=quick)
    finally:
        plane.close()


def _fill(
    plane: ControlPlane, url: str, lives: Sequence[Sensitive], say: Callable[[str], None]
) -> list[Aged]:
    count, filler = len(lives), Filler(plane)
    began = time.monotonic()
    say(f"creating {count} Secrets and {count} annotated ones")
    filler.others(count)
    sources = filler.sources(count)
    took = time.monotonic() - began
    say(f"{2 * count / took:.0f} creates a second; the refresher adopts them")
    after_this_second()
    aged, at = filler.adopt(sources, lives, Issuer("demo", issuer=url, internal=True))
    say(f"filled {at - time.time():.1f} s before the first token is due")
    time.sleep(max(0.0, at - time.time()))
    return aged


def _watched(
    plane: ControlPlane,
    issuer: IssuerProcess,
    aged: Sequence[Aged],
    say: Callable[[str], None],
    then: Callable[[], Iterator[Row]],
    *,
    quick: bool,
) -> Iterator[Row]:
    """All rows of a running refresher, those of `then` after the window."""
    servers = Servers(plane, issuer)
    kubeconfig = plane.service_account(names.DRIVER_NAMESPACE, "oauth2-csi-refresher")
    config = {"name": "demo", "issuer": issuer.url, "default": True, "internal": True}
    issuers = MEMORY / "issuers.yaml"
    issuers.write_text(json.dumps({"issuers": [config]}), encoding="utf-8")
    flags = ["--kubeconfig", str(kubeconfig), "--issuers", str(issuers)]
    say("starting the refresher")
    fresh = servers.requests()
    with RefresherProcess(MEMORY, flags) as process:
        start = process.until_scheduled(len(aged))
        say(f"all scheduled after {start:.1f} s, {process.cpu():.1f} s of CPU")
        say(describe("requests of the start", fresh, servers.requests()))
        time.sleep(QUICK_REST_SECONDS if quick else REST_SECONDS)
        before = servers.read(process)
        time.sleep(QUICK_WINDOW if quick else WINDOW)
        after = servers.read(process)
        say(describe("requests of the window", before.requests, after.requests))
        _complain(process, say)
        found = Found(aged, before, after)
        yield Row("scale_10k_start_s", start)
        yield from found.rows()
        yield Row("scale_10k_rss_peak_mib", process.most_memory())
        yield from then()
        used = _swept(process, issuers, QUICK_SWEEP if quick else SWEEP)
        yield Row("scale_10k_sweep_cpu_s", used)


def _swept(process: RefresherProcess, issuers: Path, seconds: float) -> float:
    """Seconds of CPU in which every token is visited, renewals included.

    That happens each ten minutes, and whenever an issuer changes.
    """
    issuers.write_text(issuers.read_text(encoding="utf-8"), encoding="utf-8")
    cpu = process.cpu()
    time.sleep(seconds)
    return process.cpu() - cpu


def _complain(process: RefresherProcess, say: Callable[[str], None]) -> None:
    complaints = process.complaints()
    say(f"{len(complaints)} warnings and errors logged, {process.threads()} threads")
    for line in complaints[:5]:
        say(f"  {line[:300]}")


@dataclass(frozen=True, slots=True)
class Found:
    """A window between two readings."""

    aged: Sequence[Aged]
    before: Reading
    after: Reading

    def rows(self) -> Iterator[Row]:
        """Return the numbers of the measured time."""
        took = self.after.at - self.before.at
        shown = self.after.shown[len(self.before.shown) :]
        done = [row for row in shown if row.outcome == "rotated"]
        due = {token.live: token.due for token in self.aged}
        late = [row.at - due[row.rt] for row in done if row.rt in due]
        cpu = self.after.cpu - self.before.cpu
        writes = self._more(WRITES) / len(done)
        reads = self._more(READS) / len(done)
        yield Row("scale_10k_cpu_percent", 100 * cpu / took)
        yield Row("scale_10k_rss_mib", self.after.rss)
        yield Row("scale_10k_lateness_p99_s", percentile(late, 0.99), (min(late), max(late)))
        yield Row("scale_10k_lateness_p50_s", percentile(late, 0.5))
        yield Row("scale_10k_refreshes", len(done))
        yield Row("scale_10k_api_writes_per_refresh", writes)
        yield Row("scale_10k_api_reads_per_refresh", reads)

    def _more(self, verbs: frozenset[str]) -> float:
        return refresh_requests(self.after.requests, verbs) - refresh_requests(
            self.before.requests, verbs
        )
