"""CPU of a token request over a kept connection, beside one over a new one, and of a whole refresh.

The client is the same: the server, a process of its own, closes the connection after each answer,
or leaves it open. Rounds of both take turns, so that a slow moment is slow for both.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.room import MEMORY
from bench.rows import Row, over_rounds, ratio
from bench.scale_fill import Aged, Filler, after_this_second
from bench.scale_issuer import LIFETIME
from bench.scale_process import RefresherProcess
from bench.servers import Servers
from bench.token_server import TokenServer
from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core import names
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_form import token_form
from csidriver.core.oauth.token_response import Success
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.errors import DriverError
from tests.adapters.oauth.peer import certificate
from tests.cluster.controlplane import ControlPlane

ROUNDS, QUICK_ROUNDS = 9, 3
SAMPLES, QUICK_SAMPLES = 200, 50
# The first of each kind warms up, and counts for nothing.
BATCHES, QUICK_BATCHES = 8, 3
TOKENS, QUICK_TOKENS = 60, 40
KINDS = ("kept", "fresh")
CLIENT = Client("demo-client", Sensitive("the secret of a client"))
# Seconds: for the refresher to start, between two batches, and at most for one.
_START, _APART, _TIMEOUT = 12.0, 10.0, 60.0
# Milliseconds of CPU: one list per round, for each kind.
Taken = dict[str, list[list[float]]]


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Measure requests alone, then refreshes of a process with a real API server."""
    answer = MEMORY / "answer.json"
    token = {"access_token": f"e30.{'a' * 1200}.c2ln", "token_type": "Bearer"}
    answer.write_text(json.dumps(token | {"expires_in": int(LIFETIME)}), encoding="utf-8")
    ca_file, _ = certificate(MEMORY)
    both = MEMORY / "both.pem"
    both.write_bytes(ca_file.read_bytes() + (MEMORY / "key.pem").read_bytes())
    with TokenServer(both, ca_file, answer) as server:
        say("sending token requests")
        yield from _rows("request", _requests(server, ca_file, quick=quick))
        say("starting etcd and kube-apiserver")
        yield from _rows("whole_refresh", _refreshes(server, ca_file, say, quick=quick))


def _rows(what: str, taken: Taken) -> Iterator[Row]:
    for kind in KINDS:
        yield over_rounds(f"{what}_{kind}_cpu_ms", taken[kind])
    yield ratio(f"{what}_kept_ratio_fresh", taken["kept"], taken["fresh"])


def _issuers(server: TokenServer, ca_file: Path) -> dict[str, Issuer]:
    return {
        kind: Issuer(
            kind,
            token_endpoint=f"{server.url}/{kind}/token",
            ca_file=str(ca_file),
            reuse=UNLIMITED,
        )
        for kind in KINDS
    }


def _requests(server: TokenServer, ca_file: Path, *, quick: bool) -> Taken:
    endpoints, issuers = TokenEndpoints(), _issuers(server, ca_file)
    samples = QUICK_SAMPLES if quick else SAMPLES
    taken: Taken = {kind: [] for kind in KINDS}
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        for kind, issuer in issuers.items():
            form = token_form(issuer, GrantType.CLIENT_CREDENTIALS)
            began = time.process_time()
            for _ in range(samples):
                response = endpoints.request(issuer, CLIENT, form, _TIMEOUT)
                if not isinstance(response, Success):
                    raise DriverError(f"the token endpoint answered {response.reason.value}")
            taken[kind].append([1000 * (time.process_time() - began) / samples])
    return taken


def _refreshes(
    server: TokenServer, ca_file: Path, say: Callable[[str], None], *, quick: bool
) -> Taken:
    plane = ControlPlane()
    try:
        plane.start()
        plane.install()
        batches = _fill(plane, _issuers(server, ca_file), quick=quick)
        return _watch(plane, server, batches, ca_file, say)
    finally:
        plane.close()


def _fill(
    plane: ControlPlane, issuers: dict[str, Issuer], *, quick: bool
) -> list[tuple[str, Sequence[Aged]]]:
    """Return batches of each kind in turn, each due some seconds after the one before."""
    count, size = (QUICK_BATCHES, QUICK_TOKENS) if quick else (BATCHES, TOKENS)
    filler, began = Filler(plane), time.monotonic()
    sources = {
        (number, kind): filler.sources(size, prefix=f"{kind}-{number}")
        for number in range(count)
        for kind in KINDS
    }
    after_this_second()
    # Writing grant, companion and mirror takes three times as long as writing the source did.
    at = time.time() + _START + 4 * (time.monotonic() - began)
    found: list[tuple[str, Sequence[Aged]]] = []
    for index, ((_, kind), batch) in enumerate(sources.items()):
        lives = [Sensitive(f"live-{index}-{number}") for number in range(size)]
        due = at + index * _APART
        found.append((kind, filler.due_at(batch, lives, issuers[kind], due)))
    return found


def _watch(
    plane: ControlPlane,
    server: TokenServer,
    batches: Sequence[tuple[str, Sequence[Aged]]],
    ca_file: Path,
    say: Callable[[str], None],
) -> Taken:
    servers = Servers(plane, server)
    rights = plane.service_account(names.DRIVER_NAMESPACE, "oauth2-csi-refresher")
    issuers = MEMORY / "issuers.yaml"
    shared = {"caFile": str(ca_file), "reuse": "unlimited", "rate": 10_000}
    entries = [
        {"name": kind, "tokenEndpoint": f"{server.url}/{kind}/token"} | shared for kind in KINDS
    ]
    issuers.write_text(json.dumps({"issuers": entries}), encoding="utf-8")
    flags = ["--kubeconfig", str(rights), "--issuers", str(issuers)]
    taken: Taken = {kind: [] for kind in KINDS}
    with RefresherProcess(MEMORY, flags) as process:
        process.until_scheduled(sum(len(batch) for _, batch in batches))
        for kind, batch in batches:
            first = min(token.due for token in batch)
            if time.time() > first - 1.0:
                raise DriverError("this machine is too slow: a batch was due too early")
            time.sleep(first - 1.0 - time.time())
            before, count = servers.read(process), server.count()
            while server.count() < count + len(batch):
                if time.time() > first + _TIMEOUT:
                    raise DriverError(f"not all tokens were refreshed:\n{process.tail()}")
                time.sleep(0.2)
            cpu = servers.read(process).cpu - before.cpu
            taken[kind].append([1000 * cpu / len(batch)])
            say(f"{kind}: {taken[kind][-1][0]:.1f} ms of CPU per refresh")
    return {kind: rounds[1:] for kind, rounds in taken.items()}
