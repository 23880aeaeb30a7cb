"""How many tokens a refresher renews a second when all are due, and what each of them costs.

Beside it the same HTTP exchanges by bare calls, batches of both in turn. All servers run on the
same cores: both numbers are those of the machine, their ratio is that of the refresher.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.bare_refresh import BareRefresh
from bench.room import MEMORY
from bench.rows import Row, middle
from bench.scale_fill import Aged, Filler, after_this_second
from bench.scale_issuer import IssuerProcess
from bench.scale_process import RefresherProcess
from bench.servers import READS, WRITES, Reading, Servers, refresh_requests
from csidriver.core import names
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.sensitive import Sensitive
from csidriver.errors import DriverError
from tests.cluster.controlplane import ControlPlane

# Seconds: for the refresher to start, of nothing before a batch, and at most for a batch.
_START, _QUIET, _TIMEOUT = 8.0, 2.0, 60.0
# How much longer than bare creates and refreshes things may take.
_SLOWER, _ROOM = 6.0, 5.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Batches, and tokens in each."""

    batches: int
    tokens: int


FULL = Counts(batches=5, tokens=150)
QUICK = Counts(batches=2, tokens=50)


@dataclass(frozen=True, slots=True)
class Batch:
    """The counts of the servers before and after one batch, and the rate of bare calls."""

    before: Reading
    after: Reading
    bare: float

    @property
    def done(self) -> list[float]:
        """When each refresh token was presented that was taken, in epoch seconds."""
        shown = self.after.shown[len(self.before.shown) :]
        return [row.at for row in shown if row.outcome == "rotated"]

    def rate(self) -> float:
        """Return the refreshes per second."""
        return (len(self.done) - 1) / (max(self.done) - min(self.done))

    def per_refresh(self, verbs: frozenset[str]) -> float:
        """Return the API requests per refresh."""
        more = refresh_requests(self.after.requests, verbs) - refresh_requests(
            self.before.requests, verbs
        )
        return more / len(self.done)


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Let batches of tokens become due at once."""
    counts = QUICK if quick else FULL
    plane = ControlPlane()
    try:
        say("starting etcd and kube-apiserver")
        plane.start()
        plane.install()
        lives = [_secret() for _ in range(counts.batches * counts.tokens)]
        others = [_secret() for _ in range(counts.tokens)]
        with IssuerProcess([*lives, *others]) as issuer:
            bare = BareRefresh(plane, issuer.url, others)
            apart = _QUIET + 4.0 + _ROOM * counts.tokens / bare.run()
            batches = _fill(plane, issuer, lives, counts, apart)
            found = _batches(plane, issuer, bare, batches, say)
    finally:
        plane.close()
    yield from _rows(found)


def _fill(
    plane: ControlPlane,
    issuer: IssuerProcess,
    lives: Sequence[Sensitive],
    counts: Counts,
    apart: float,
) -> list[list[Aged]]:
    """Batches that become due so many seconds apart."""
    filler, size, began = Filler(plane), counts.tokens, time.monotonic()
    batches = [filler.sources(size, prefix=f"batch-{number}") for number in range(counts.batches)]
    after_this_second()
    first = time.time() + _START + _SLOWER * (time.monotonic() - began)
    known = Issuer("demo", issuer=issuer.url, internal=True)
    return [
        filler.due_at(
            sources,
            lives[number * size : (number + 1) * size],
            known,
            first + number * apart,
        )
        for number, sources in enumerate(batches)
    ]


def _batches(
    plane: ControlPlane,
    issuer: IssuerProcess,
    bare: BareRefresh,
    batches: Sequence[Sequence[Aged]],
    say: Callable[[str], None],
) -> list[Batch]:
    servers = Servers(plane, issuer)
    rights = plane.service_account(names.DRIVER_NAMESPACE, "oauth2-csi-refresher")
    issuers = MEMORY / "issuers.yaml"
    config = {"name": "demo", "issuer": issuer.url, "default": True, "internal": True}
    # What is measured is the refresher, not how it spares a server.
    issuers.write_text(json.dumps({"issuers": [config | {"rate": 10_000}]}), encoding="utf-8")
    flags = ["--kubeconfig", str(rights), "--issuers", str(issuers)]
    found = []
    with RefresherProcess(MEMORY, flags) as process:
        process.until_scheduled(sum(map(len, batches)))
        for number, batch in enumerate(batches):
            if time.time() > min(token.due for token in batch) - _QUIET:
                say(f"batch {number + 1} was due before the one before it ended, and is left out")
                continue
            found.append(_watch(servers, issuer, process, batch, bare))
            say(f"batch {number + 1} of {len(batches)}: {found[-1].rate():.0f} refreshes a second")
    if not found:
        raise DriverError("this machine is too slow: every batch was due too early")
    return found


def _watch(
    servers: Servers,
    issuer: IssuerProcess,
    process: RefresherProcess,
    batch: Sequence[Aged],
    bare: BareRefresh,
) -> Batch:
    due = min(token.due for token in batch)
    time.sleep(due - _QUIET - time.time())
    before = servers.read(process)
    wanted = {token.live for token in batch}
    while not wanted <= {row.rt for row in issuer.log()}:
        if time.time() > due + _TIMEOUT:
            raise DriverError("not all tokens were refreshed")
        time.sleep(0.2)
    return Batch(before, servers.read(process), bare.run())


def _rows(batches: Sequence[Batch]) -> Iterator[Row]:
    yield middle("refresh_per_second", [batch.rate() for batch in batches])
    cpu = [1000 * (b.after.cpu - b.before.cpu) / len(b.done) for b in batches]
    yield middle("refresh_cpu_ms", cpu)
    yield middle("api_writes_per_refresh", [batch.per_refresh(WRITES) for batch in batches])
    yield middle("api_reads_per_refresh", [batch.per_refresh(READS) for batch in batches])
    shown = [(len(b.after.shown) - len(b.before.shown)) / len(b.done) for b in batches]
    yield middle("as_calls_per_refresh", shown)
    yield middle("refresh_floor_per_second", [batch.bare for batch in batches])
    yield middle("refresh_ratio_floor", [batch.bare / batch.rate() for batch in batches])


def _secret() -> Sensitive:
    return Sensitive(secrets.token_urlsafe(32))
