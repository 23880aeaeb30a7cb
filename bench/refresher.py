"""How many tokens a refresher renews a second when all are due, and the CPU of each of them.

Batches of tokens are due in turn: of the strict authorization server, and of one that allows to
repeat a request, which closes its connections or does not. All servers are on the same cores, and
speak HTTPS. With a commit in the variable BEFORE its refresher and this one take turns instead.
"""

import base64
import compileall
import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import urllib3

from bench import servers
from bench.processes import MEMORY, TOP, Child
from bench.report import Row, quotients_of
from bench.scale import Filler, random_tokens
from bench.servers import CA_FILE, Api, Refresher
from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_form import token_form
from csidriver.core.oauth.token_response import Success
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT
from csidriver.errors import DriverError
from tests.adapters.oauth.peer import certificate

# Tokens of a batch, and seconds from one batch to the next: two batches must not overlap.
_SIZE, _TINY, _APART, _APART_IN_TURN = 50, 10, 4.0, 16.0
_WORKERS = 8  # as many as the refresher has
# By refresh: ms of CPU, writes, reads, tokens presented; and refreshes a second.
Batch = tuple[float, float, float, float, float]
Kind = tuple[Path, str]  # a working tree, and the kind of its issuer
_SECRETS = "/api/v1/namespaces/default/secrets"


def measure(*, quick: bool) -> Iterator[Row]:
    """Let batches become due, each at one instant."""
    before, rounds = os.environ.get("BEFORE", ""), 2 if quick else 6
    with ExitStack() as stack:
        setup = Setup(stack, _TINY if quick else _SIZE)
        bare, floors = BareRefresh(setup), []
        kinds, apart = [(TOP, kind) for kind in setup.issuers], _APART
        if before:
            kinds, apart = [(TOP, "strict"), (_extract(before), "strict")], _APART_IN_TURN
        found: dict[Kind, list[Batch]] = {kind: [] for kind in kinds}
        for tree, kind, due in setup.adopt(kinds * rounds, apart):
            setup.start(tree)
            if time.time() > due - 1.0:
                print("* a batch was due before the last one ended, and is left out", flush=True)
                continue
            time.sleep(due - 1.0 - time.time())
            found[tree, kind].append(setup.refresh(kind, due))
            if kind == "strict":
                floors.append(bare.run())
        # The first of each kind warms up.
        cpu = [[cpu for cpu, *_ in batches[1:] or batches] for batches in found.values()]
        if not all(cpu):
            raise DriverError("this machine is too slow: batches were due too early")
        if before:
            yield from _compare("refresh_cpu_ms before_cpu_ms refresh_ratio_before", cpu)
            return
        yield from _rows(found[TOP, "strict"], floors)
        keys = "{0}_kept_cpu_ms {0}_fresh_cpu_ms {0}_kept_ratio_fresh"
        yield from _compare(keys.format("whole_refresh"), cpu[1:], "<= 0.8")
        taken = _send_requests(setup.issuers, 20 if quick else 200)
        yield from _compare(keys.format("request"), taken, "<= 0.5")


class Setup:
    """The servers, tokens in batches, and a refresher of one working tree after the other."""

    def __init__(self, stack: ExitStack, size: int) -> None:
        certificate(MEMORY)
        self.size = size
        self.api = Api(servers.start_api_server(stack))
        self._running = stack.enter_context(ExitStack())
        self._tree, self._tokens = Path(), 0
        lives = random_tokens(25 * size)
        self._lives = iter(lives)
        strict = stack.enter_context(Child(servers.serve_issuer, lives))
        answer = {"access_token": "a" * 1200, "token_type": "Bearer", "expires_in": 1199}
        canned = stack.enter_context(Child(servers.serve_canned, json.dumps(answer).encode()))
        self._servers = {"strict": strict, "kept": canned, "fresh": canned}
        url, ca_file = f"https://{servers.HOST}:{canned.receive()}", str(CA_FILE)
        self.issuers = {"strict": Issuer("strict", strict.receive(), ca_file=ca_file)}
        for kind in ("kept", "fresh"):
            endpoint = f"{url}/{kind}/token"
            issuer = Issuer(kind, token_endpoint=endpoint, ca_file=ca_file, reuse=UNLIMITED)
            self.issuers[kind] = issuer

    def new_lives(self) -> list[str]:
        """Return refresh tokens that the strict server knows."""
        return list(itertools.islice(self._lives, self.size))

    def adopt(self, kinds: Sequence[Kind], apart: float) -> list[tuple[Path, str, float]]:
        """Make a batch of each kind; return when each is due, later on a busy machine."""
        filler, began = Filler(self.api), time.monotonic()
        sources = [filler.create_sources(self.size, f"b-{number}") for number in range(len(kinds))]
        # To adopt takes three times as long, or longer if busy; then the refresher starts.
        took = time.monotonic() - began
        first, busy = time.time() + 20.0 + 10 * took, took / (0.003 * self.size * len(kinds))
        apart *= min(max(busy, 1.0), 2.5)
        time.sleep(1.1)
        batches = [(*kind, first + number * apart) for number, kind in enumerate(kinds)]
        for (_, kind, due), created in zip(batches, sources, strict=True):
            filler.adopt(created, self.new_lives(), self.issuers[kind], [due] * self.size)
        self._tokens = self.size * len(kinds)
        return batches

    def start(self, tree: Path) -> None:
        """Have a refresher of this working tree, which knows all tokens."""
        if tree == self._tree:
            return
        self._running.close()
        # What is measured is the refresher, not how it spares a server.
        fast: dict[str, object] = {"rate": 10_000}
        entries = [fast | {"name": "strict", "issuer": self.issuers["strict"].issuer}]
        for kind in ("kept", "fresh"):
            url = self.issuers[kind].token_endpoint
            entries.append(fast | {"name": kind, "tokenEndpoint": url, "reuse": "unlimited"})
        self._tree, self._refresher = tree, Refresher(self.api, entries, tree)
        self._running.callback(self._refresher.stop)
        self._refresher.wait_until_scheduled(self._tokens)

    def refresh(self, kind: str, due: float) -> Batch:
        """Return the costs of a refresh, when the batch that is due then is done."""

        def presented() -> int:
            found = self._servers[kind].ask(0)
            return len(found) if kind == "strict" else int(found)

        known, before = presented(), self._refresher.count()
        while (count := presented() - known) < self.size:
            if time.time() > due + 60.0:
                raise DriverError(f"not all tokens were refreshed:\n{self._refresher.log[-2000:]}")
            time.sleep(0.2)
        after, times = self._refresher.count(), [due, due + 1.0]
        if kind == "strict":
            times = [at for at, *_ in self._servers[kind].ask(known)]
        rate = (len(times) - 1) / (max(times) - min(times))
        spent = [(new - old) / self.size for new, old in zip(after, before, strict=True)]
        return 1000 * spent[0], spent[1], spent[2], count / self.size, rate


def _rows(batches: Sequence[Batch], floors: Sequence[tuple[float, float]]) -> Iterator[Row]:
    cpu, writes, reads, presented, rates = zip(*batches, strict=True)
    floor_rates, floor_cpu = zip(*floors, strict=True)
    yield Row("refresh_per_second", rates, "", floor_rates)
    yield Row("refresh_ratio_floor", quotients_of(floor_rates, rates))
    yield Row("refresh_cpu_ms", cpu, "", floor_cpu)
    yield Row("api_writes_per_refresh", writes, "<= 4")
    yield Row("api_reads_per_refresh", reads, "<= 0.2")
    yield Row("as_calls_per_refresh", presented, "<= 1")


def _compare(keys: str, taken: list[list[float]], target: str = "") -> Iterator[Row]:
    (one, other, ratio), count = keys.split(), min(map(len, taken))
    yield Row(one, taken[0])
    yield Row(other, taken[1])
    yield Row(ratio, quotients_of(taken[0][:count], taken[1][:count]), target)


def _send_requests(issuers: dict[str, Issuer], count: int) -> list[list[float]]:
    """Send token requests over kept connections and over new ones in turn; CPU of each in ms."""
    endpoints, client = TokenEndpoints(), Client("c", Sensitive("s"))
    taken: dict[str, list[float]] = {"kept": [], "fresh": []}
    for kind in 9 * list(taken):
        form = token_form(issuers[kind], GrantType.CLIENT_CREDENTIALS)
        began = time.process_time()
        for _ in range(count):
            response = endpoints.request(issuers[kind], client, form, 10.0)
            if not isinstance(response, Success):
                raise DriverError("the token endpoint refused a request")
        taken[kind].append(1000 * (time.process_time() - began) / count)
    return list(taken.values())


def _extract(commit: str) -> Path:
    """Return a folder with the code of a commit."""
    folder, archive = MEMORY / "before", MEMORY / "before.tar"
    folder.mkdir()
    command = ["git", "-c", "safe.directory=*", "archive", f"--output={archive}", commit]
    subprocess.run([*command, "csidriver"], cwd=TOP, check=True)  # noqa: S603
    subprocess.run(["tar", f"--file={archive}", "-x", "-C", folder], check=True)  # noqa: S603, S607
    compileall.compile_dir(folder, quiet=1)
    return folder


class BareRefresh:
    """The floor: one request for tokens and the four writes in their order, as large, unchecked."""

    def __init__(self, setup: Setup) -> None:
        self._api, self._url = setup.api, f"{setup.issuers['strict'].issuer}/token"
        self._pool = urllib3.PoolManager(ca_certs=str(CA_FILE), maxsize=_WORKERS)
        secret = (DEMO_CLIENT.client_secret or Sensitive("")).reveal()
        self._basic = urllib3.make_headers(basic_auth=f"{DEMO_CLIENT.client_id}:{secret}")
        self._lives = setup.new_lives()
        for number, kind in itertools.product(range(setup.size), ("source", "grant", "companion")):
            self._api.send("POST", _SECRETS, {"metadata": {"name": f"{kind}-{number}"}})

    def run(self) -> tuple[float, float]:
        """Refresh all once; return refreshes a second, and milliseconds of CPU of each."""
        began, cpu = time.monotonic(), time.process_time()
        with ThreadPoolExecutor(_WORKERS) as pool:
            list(pool.map(self._refresh, range(len(self._lives))))
        took, used = time.monotonic() - began, time.process_time() - cpu
        return len(self._lives) / took, 1000 * used / len(self._lives)

    def _refresh(self, number: int) -> None:
        self._patch("grant", number, {"metadata": {"annotations": {"intent": "i" * 64}}})
        form = {"grant_type": "refresh_token", "refresh_token": self._lives[number]}
        answer = self._pool.request_encode_body(
            "POST", self._url, fields=form, headers=self._basic, encode_multipart=False
        )
        tokens = answer.json()
        self._lives[number] = tokens["refresh_token"]
        whole = base64.b64encode(answer.data).decode()
        token = base64.b64encode(tokens["access_token"].encode()).decode()
        self._patch("grant", number, {"data": {"document": whole}})
        self._patch("companion", number, {"data": {"access_token": token}})
        self._patch("source", number, {"data": {"oauth": whole}})

    def _patch(self, kind: str, number: int, body: object) -> None:
        self._api.send("PATCH", f"{_SECRETS}/{kind}-{number}", body, servers.MERGE)
