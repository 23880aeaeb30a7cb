"""The refresher against its targets: thousands of tokens in custody, on a real API server.

Requests are counted where they arrive: at kube-apiserver and at the authorization server.
"""

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import urllib3

from bench.room import MEMORY
from bench.rows import Row
from bench.scale_fill import Aged, Filler, after_this_second
from bench.scale_issuer import IssuerProcess, Shown
from bench.scale_process import RefresherProcess
from bench.scale_reseed import RESEEDS, reseeded
from csidriver.core import contract
from csidriver.core.issuers import Issuer
from csidriver.core.sensitive import Sensitive
from csidriver.demo.verdict import percentile
from csidriver.errors import DriverError
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tools.programs import find

TOKENS, QUICK_TOKENS = 10_000, 1_000
WINDOW, QUICK_WINDOW = 60.0, 20.0
# Seconds after the start in which caches warm and what became due meanwhile is done.
SETTLE = 10.0
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE", "APPLY"})
_READS = frozenset({"GET", "LIST"})
_COUNTED = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_ROUNDS = 200

Counts = Mapping[tuple[str, str, str], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """What all sides say at one moment at which no request was under way."""

    at: float
    requests: Counts
    shown: Sequence[Shown]
    cpu: float
    rss: float


class Servers:
    """What kube-apiserver and the authorization server have counted."""

    def __init__(self, plane: ControlPlane, issuer: IssuerProcess) -> None:
        self._url = f"{plane.server}/metrics"
        (user,) = json.loads(plane.kubeconfig.read_text(encoding="utf-8"))["users"]
        self._headers = {"Authorization": f"Bearer {user['user']['token']}"}
        self._pool = urllib3.PoolManager(ca_certs=str(plane.ca))
        self._issuer = issuer

    def requests(self) -> Counts:
        """Requests by verb, resource and status."""
        text = self._pool.request("GET", self._url, headers=self._headers).data.decode()
        found: Counter[tuple[str, str, str]] = Counter()
        for labels, value in _COUNTED.findall(text):
            named = dict(_LABEL.findall(labels))
            found[named["verb"], named["resource"], named["code"]] += int(float(value))
        return found

    def read(self, process: RefresherProcess) -> Reading:
        """Look until nothing is under way: a refresh in parts would count in parts."""
        before = self.requests()
        for _ in range(_ROUNDS):
            now, cpu, shown = time.time(), process.cpu(), self._issuer.log()
            after = self.requests()
            if _of(after, _WRITES) == _of(before, _WRITES):
                return Reading(now, after, shown, cpu, process.memory())
            before = after
        raise DriverError("there was no moment without a request")


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
    say(f"{2 * count / took:.0f} creates a second; taking them into custody")
    after_this_second()
    at = time.time() + 1.5 * took * 1.3 + 2.0
    aged = filler.custody(sources, lives, Issuer("demo", issuer=url, internal=True), at)
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
    kubeconfig = plane.service_account(contract.DRIVER_NAMESPACE, "oauth2-csi-refresher")
    config = {"name": "demo", "issuer": issuer.url, "default": True, "internal": True}
    issuers = MEMORY / "issuers.yaml"
    issuers.write_text(json.dumps({"issuers": [config]}), encoding="utf-8")
    flags = ["--kubeconfig", str(kubeconfig), "--issuers", str(issuers)]
    say("starting the refresher")
    fresh = servers.requests()
    with RefresherProcess(MEMORY, flags) as process:
        start = process.until_scheduled(len(aged))
        say(f"all scheduled after {start:.1f} s, {process.cpu():.1f} s of CPU")
        say(_told("requests of the start", fresh, servers.requests()))
        time.sleep(SETTLE)
        before = servers.read(process)
        time.sleep(QUICK_WINDOW if quick else WINDOW)
        after = servers.read(process)
        say(_told("requests of the window", before.requests, after.requests))
        _complain(process, say)
        found = Found(aged, before, after)
        yield Row("scale_10k_start_s", f"start, {len(aged)} tokens scheduled", "s", start, 60.0)
        yield from found.rows()
        yield Row("scale_10k_rss_peak_mib", "... the most so far", "MiB", process.most_memory())
        yield from then()
        yield from _swept(process, issuers, say)


def _swept(process: RefresherProcess, issuers: Path, say: Callable[[str], None]) -> Iterator[Row]:
    """What a visit to every token costs: each ten minutes, and whenever an issuer changes."""
    issuers.write_text(issuers.read_text(encoding="utf-8"), encoding="utf-8")
    began, cpu = time.monotonic(), process.cpu()
    time.sleep(20.0)
    used = process.cpu() - cpu
    say(f"sweep: {used:.2f} s of CPU in {time.monotonic() - began:.1f} s, renewals included")
    yield Row("scale_10k_sweep_cpu_s", "CPU of 20 s with a visit to every token", "s", used)


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
        """The numbers of the window."""
        took = self.after.at - self.before.at
        shown = self.after.shown[len(self.before.shown) :]
        done = [row for row in shown if row.outcome == "rotated"]
        due = {token.live: token.due for token in self.aged}
        late = [row.at - due[row.rt] for row in done if row.rt in due]
        cpu = self.after.cpu - self.before.cpu
        writes = self._more(_WRITES) / len(done)
        reads = self._more(_READS) / len(done)
        yield Row("scale_10k_cpu_percent", "CPU, of one core", "%", 100 * cpu / took, 15.0)
        yield Row("scale_10k_rss_mib", "RSS", "MiB", self.after.rss, 250.0)
        yield Row(
            "scale_10k_lateness_p99_s",
            "refreshed after it was due, p99",
            "s",
            percentile(late, 0.99),
            None,
            (min(late), max(late)),
        )
        yield Row("scale_10k_lateness_p50_s", "... p50", "s", percentile(late, 0.5))
        yield Row("scale_10k_refreshes", "refreshes in the window", "", len(done))
        yield Row("api_writes_per_refresh", "writes at the API server per refresh", "", writes, 4.0)
        yield Row("api_reads_per_refresh", "reads at the API server per refresh", "", reads, 0.2)
        yield Row(
            "as_calls_per_refresh", "tokens presented per refresh", "", len(shown) / len(done)
        )
        yield Row("refresh_per_second", "refreshes per second", "/s", len(done) / took)
        yield Row("refresh_cpu_ms", "CPU per refresh", "ms", 1000 * cpu / len(done))

    def _more(self, verbs: frozenset[str]) -> float:
        return _of(self.after.requests, verbs) - _of(self.before.requests, verbs)


def _of(counts: Counts, verbs: frozenset[str]) -> float:
    """Requests for what a refresh touches; the lease is renewed however many tokens there are."""
    touched = ("secrets", "events")
    return sum(n for (verb, what, _), n in counts.items() if verb in verbs and what in touched)


def _told(what: str, before: Counts, after: Counts) -> str:
    more = {key: n - before.get(key, 0) for key, n in after.items()}
    shown = (
        f"{verb} {resource} {code}: {n:.0f}"
        for (verb, resource, code), n in sorted(more.items())
        if n and resource in {"secrets", "events", "leases"}
    )
    return f"{what}: {'; '.join(shown)}"
