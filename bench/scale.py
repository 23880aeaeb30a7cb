"""The refresher with 10,000 tokens, which it adopted long ago, among as many other Secrets.

Every object is built by the functions with which the refresher builds its own, and written as it
and kubectl write theirs: what stands there is what a refresher leaves behind that just ended.
"""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from bench import servers
from bench.processes import MEMORY, Child, memory_of_imports
from bench.report import Row
from bench.servers import CA_FILE, LIFETIME, Api
from csidriver.core import annotations, names
from csidriver.core.backoff import stable_jitter
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh import grant_secret, new_tokens, schedule, source_annotations
from csidriver.core.refresh.grant import MAX_SPENT, Grant, adopt
from csidriver.core.refresh.source import Source
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT
from csidriver.demo.jwt import sign_jwt
from csidriver.demo.report import percentile
from csidriver.errors import DriverError
from tests.adapters.oauth.peer import certificate
from tests.refresher.bench import manifest

_GENERATION = 100  # of each token: its grant has as many spent hashes as it ever will
_CLIENT = {
    annotations.KEY_CLIENT_ID: Sensitive(DEMO_CLIENT.client_id),
    annotations.KEY_CLIENT_SECRET: DEMO_CLIENT.client_secret or Sensitive(""),
}
_KUBECTL, _REFRESHER = "?fieldManager=kubectl-create", f"?fieldManager={names.FIELD_MANAGER}"
_IMPORTS = "csidriver.refresher.refresher, csidriver.adapters.kubernetes.client"


class Adopted(NamedTuple):
    """The hash of a live refresh token, and when it is due."""

    ref: SourceRef
    live: str
    due: float


def measure(*, quick: bool) -> Iterator[Row]:
    """Start a refresher with old tokens, evenly aged; refresh what is due; log in again."""
    count, window = (500, 10.0) if quick else (10_000, 45.0)
    with ExitStack() as stack:
        certificate(MEMORY)
        api = Api(servers.start_api_server(stack))
        lives, logins = random_tokens(count), random_tokens(5)
        server = stack.enter_context(Child(servers.serve_issuer, [*lives, *logins]))
        url = server.receive()
        filler, began = Filler(api), time.monotonic()
        filler.create_others(count)
        sources = filler.create_sources(count)
        time.sleep(1.1)
        # To adopt a token takes three writes, of which those before took one for each Secret.
        at = time.time() + 2.0 * (time.monotonic() - began)
        issuer = Issuer("demo", issuer=url, ca_file=str(CA_FILE))
        dues = [at + period_of(source) * n / count for n, source in enumerate(sources)]
        adopted = filler.adopt(sources, lives, issuer, dues)
        time.sleep(max(0.0, at - time.time()))
        entries: list[dict[str, object]] = [{"name": "demo", "issuer": url, "default": True}]
        refresher = stack.enter_context(servers.Refresher(api, entries))
        yield Row("scale_10k_start_s", [refresher.wait_until_scheduled(count)], "<= 60")
        # Caches warm, and what became due meanwhile is done.
        time.sleep(4.0 if quick else 10.0)
        before, known, began = refresher.count(), len(server.ask(0)), time.monotonic()
        time.sleep(window)
        after, took = refresher.count(), time.monotonic() - began
        rotated = {token: at for at, token, outcome in server.ask(known) if outcome == "rotated"}
        late = [rotated[token.live] - token.due for token in adopted if token.live in rotated]
        cpu, writes, reads = (new - old for new, old in zip(after, before, strict=True))
        floor = memory_of_imports(_IMPORTS)
        yield Row("scale_10k_rss_mib", [refresher.memory()], "<= 250", [floor])
        yield Row("scale_10k_cpu_percent", [100 * cpu / took], "<= 15")
        yield Row("scale_10k_lateness_p99_s", [percentile(late, 0.99)])
        yield Row("scale_10k_refreshes", [len(rotated)])
        yield Row("scale_10k_api_writes_per_refresh", [writes / len(rotated)], "<= 4")
        yield Row("scale_10k_api_reads_per_refresh", [reads / len(rotated)], "<= 0.2")
        again = zip(adopted[:5], logins, strict=True)
        slowest = max(_log_in(api, server, token, login) for token, login in again)
        yield Row("reseed_adopted_s", [slowest], "<= 2")


def _log_in(api: Api, server: Child, token: Adopted, login: str) -> float:
    """Return the seconds from the start of `kubectl apply` until the login is refreshed."""
    began, known = time.time(), len(server.ask(0))
    text = json.dumps(manifest(token.ref.name, login))
    api.plane.kubectl("apply", "--filename=-", f"--namespace={token.ref.namespace}", stdin=text)
    while time.time() < began + 30.0:
        for at, rt, outcome in server.ask(known):
            if (rt, outcome) == (Sensitive(login).hash(), "rotated"):
                return float(at) - began
        time.sleep(0.1)
    raise DriverError("a new login was not adopted within 30 s")


def team(number: int) -> str:
    return f"team-{number % 20}"


def random_tokens(count: int) -> list[str]:
    return [secrets.token_urlsafe(32) for _ in range(count)]


class Filler:
    """Writes as administrator, over many connections."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._uids = dict[str, str]()
        for name in map(team, range(20)):
            created = api.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
            self._uids[name] = json.loads(created)["metadata"]["uid"]

    def create_others(self, count: int) -> None:
        data = {"password": Sensitive("s" * 2000)}
        others = [Secret(team(number), f"other-{number}", data=data) for number in range(count)]
        servers.for_all(others, self._create)

    def create_sources(self, count: int, prefix: str = "token") -> list[Secret]:
        """Create annotated Secrets, as users do."""

        def create(number: int) -> Secret:
            seed = json.dumps({"refresh_token": secrets.token_urlsafe(32)})
            data = {annotations.KEY_OAUTH: Sensitive(seed)} | _CLIENT
            name, marks = f"{prefix}-{number}", {annotations.IS_TOKEN: "true"}
            return self._create(Secret(team(number), name, annotations=marks, data=data))

        return servers.for_all(range(count), create)

    def adopt(
        self, sources: Sequence[Secret], lives: Sequence[str], issuer: Issuer, dues: Sequence[float]
    ) -> list[Adopted]:
        """Write mirrors, grants and companions of sources that are to be refreshed then.

        Of two writes in one second nobody can tell which came last: sources are a second old.
        """

        def write(number: int) -> Adopted:
            source = sources[number]
            uid, sent_at = self._uids[source.namespace], dues[number] - period_of(source)
            grant = replace(_grant(source, lives[number], issuer, sent_at), namespace_uid=uid)
            status = source_annotations.status_annotations(grant, None, mirror_refused=False)
            patch = SecretPatch(status, {annotations.KEY_OAUTH: grant.document.to_json()})
            body, path = patch.to_merge_patch(source.resource_version), _path(source)
            self._api.send("PATCH", f"{path}/{source.name}{_REFRESHER}", body, servers.MERGE)
            self._create(grant_secret.to_secret(grant, names.DRIVER_NAMESPACE), _REFRESHER)
            token, due = grant.access_token(grant.issued_at), grant.next_refresh or 0.0
            state = grant.source_uid, grant.generation, grant.status, grant.message, due, token
            self._create(servers.to_secret(Companion(grant.ref, *state, uid)), _REFRESHER)
            return Adopted(grant.ref, grant.live_hash, due)

        return servers.for_all(range(len(sources)), write)

    def _create(self, secret: Secret, query: str = _KUBECTL) -> Secret:
        created = self._api.send("POST", f"{_path(secret)}{query}", secret.to_manifest())
        return Secret.from_manifest(json.loads(created))


def _path(secret: Secret) -> str:
    return f"/api/v1/namespaces/{secret.namespace}/secrets"


def period_of(source: Secret) -> float:
    """Return the seconds from one refresh of a token to the next."""
    return schedule.next_refresh_at(0.0, LIFETIME, u=stable_jitter(source.uid, _GENERATION))


def _grant(source: Secret, live: str, issuer: Issuer, sent_at: float) -> Grant:
    """Return a grant after many refreshes, the last of them sent at `sent_at`."""
    adopted = adopt(Source.parse(source), issuer, sent_at - _GENERATION * LIFETIME, None)
    spent = tuple(Sensitive(each).hash() for each in random_tokens(MAX_SPENT - 1))
    before = replace(adopted, generation=_GENERATION - 1, spent=spent)
    before = replace(before, source_version=source.resource_version)
    session, expires = secrets.token_hex(16), int(sent_at + LIFETIME)
    claims = {"iss": issuer.issuer, "sid": session, "iat": int(sent_at), "exp": expires}
    fields = {
        "access_token": sign_jwt(claims, b"k" * 32),
        "token_type": "Bearer",
        "expires_in": int(LIFETIME),
        "refresh_token": live,
        "session_state": session,
        "id_token": servers.ID_TOKEN,
    }
    reply, _ = TokenDocument.parse(Sensitive(json.dumps(fields)))
    return new_tokens.after_success(before, reply, sent_at, issuer)
