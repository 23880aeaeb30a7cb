"""The servers around the roles: kube-apiserver, and authorization servers that speak HTTPS."""

import json
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self, TypeVar

import urllib3

from bench.processes import MEMORY, ROLE, TOP, Program, answer_all
from csidriver.core import annotations, names
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT
from csidriver.demo.server import LIMITS, IssuerHandler, IssuerServer
from csidriver.errors import DriverError
from csidriver.http_server.server import HttpServer
from tests.cluster.controlplane import ControlPlane
from tests.issuer.issuer import ScriptedIssuer
from tests.issuer.policy import Policy

HOST = "127.0.0.1"
# The certificate of all servers of the bench, which is its own authority.
CA_FILE, CERTIFICATE_FILE, KEY_FILE = (MEMORY / f"{name}.pem" for name in ("ca", "server", "key"))
# Seconds an access token lives: what CERN's server gives. Its ID token is as long as Keycloak's.
LIFETIME, ID_TOKEN = 1199.0, "i" * 1200
_THREADS = 16
_JSON, MERGE = "application/json", "application/merge-patch+json"
_COUNTED = r'(?m)^apiserver_request_total\{.*"(?:secrets|events)".*verb="(\w+)".*\} (\S+)$'
_SAMPLE = r"(?m)^oauth2_csi_refresher_(leader|sources) (\S+)$"
T = TypeVar("T")


def start_api_server(stack: ExitStack) -> ControlPlane:
    """Start etcd and kube-apiserver with the rights of `deploy/`, until the stack ends."""
    plane = ControlPlane()
    stack.callback(plane.close)
    plane.start()
    plane.install()
    return plane


class Api:
    """Requests over connections that stay open, as administrator or with a kubeconfig."""

    def __init__(self, plane: ControlPlane, kubeconfig: Path | None = None) -> None:
        (user,) = json.loads((kubeconfig or plane.kubeconfig).read_text("utf-8"))["users"]
        self.plane, self.token = plane, str(user["user"]["token"])
        self._pool = urllib3.PoolManager(ca_certs=str(plane.ca), maxsize=_THREADS)

    def send(self, method: str, path: str, body: Any = None, kind: str = _JSON) -> bytes:
        """Return the body of an answer; raise DriverError for a refusal."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        payload = None if body is None else json.dumps(body)
        url = self.plane.server + path
        answer = self._pool.request(method, url, body=payload, headers=headers)
        if answer.status not in {200, 201}:
            raise DriverError(f"{method} {path}: the API server answered {answer.status}")
        return answer.data

    def count(self) -> tuple[int, int]:
        """Return how often Secrets and Events were written, and read, by its own count."""
        counts: Counter[str] = Counter()
        for verb, value in re.findall(_COUNTED, self.send("GET", "/metrics").decode()):
            counts[verb] += int(float(value))
        reads = counts["GET"] + counts["LIST"]
        return counts.total() - reads - counts["WATCH"], reads


def for_all(items: Iterable[Any], work: Callable[[Any], T]) -> list[T]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))


def to_secret(companion: Companion) -> Secret:
    """Return the Secret that the refresher writes."""
    return Secret(
        names.TOKENS_NAMESPACE,
        companion.source.companion,
        type=annotations.COMPANION_SECRET_TYPE,
        annotations=companion.annotations(),
        data=companion.data(),
    )


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE_FILE, KEY_FILE)
    return context


class _HttpsIssuer(ScriptedIssuer):
    def __enter__(self) -> Self:
        server, tls = object.__new__(IssuerServer), _tls()
        HttpServer.__init__(server, (HOST, 0), IssuerHandler, LIMITS, lambda: tls)
        self._issuer = f"https://{HOST}:{server.address[1]}"
        server.endpoints = self._endpoints()
        server.start()
        return self


def serve_issuer(connection: Connection, seeds: Iterable[str]) -> None:
    """Be the strict authorization server, whose families start with the given refresh tokens.

    Send its URL; asked with a number, send when each refresh token (its hash) after so many was
    presented, and with what result.
    """
    policy = Policy(lifetime=LIFETIME, extra={"id_token": ID_TOKEN})
    with _HttpsIssuer(clients=[DEMO_CLIENT], policy=policy) as issuer:
        for seed in seeds:
            issuer.seed(DEMO_CLIENT.client_id, Sensitive(seed))

        def presentations(known: int) -> list[tuple[float, str, str]]:
            rows = issuer.presentations()[known:]
            return [(row.presented_at, row.token_hash, row.outcome) for row in rows]

        connection.send(issuer.url)
        answer_all(connection, presentations)


class JsonHandler(BaseHTTPRequestHandler):
    """The cheapest HTTPS server of Python: answers all requests with JSON, and counts them.

    It closes the connection after an answer to a path below `/fresh/`.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    canned = b""
    count = 0

    def do_GET(self) -> None:
        type(self).count += 1
        body = self.respond(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.path.startswith("/fresh/"):
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    do_POST = do_GET  # noqa: N815 - http.server looks its methods up by these names

    def respond(self, _: bytes) -> bytes:
        return self.canned

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


def serve_https(handler: type[JsonHandler]) -> int:
    """Serve in a thread, and return the port."""
    server: Any = ThreadingHTTPServer((HOST, 0), handler)
    wrapped = _tls().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.socket = wrapped
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def serve_canned(connection: Connection, answer: bytes) -> None:
    """Answer all requests alike. Send the port; asked, send how many there were."""
    JsonHandler.canned = answer
    connection.send(serve_https(JsonHandler))
    answer_all(connection, lambda _: JsonHandler.count)


class Refresher(Program):
    """A refresher with the rights of `deploy/`, of a working tree, with some issuers."""

    def __init__(self, api: Api, issuers: Sequence[dict[str, object]], tree: Path = TOP) -> None:
        rights = api.plane.service_account(names.DRIVER_NAMESPACE, names.REFRESHER)
        self._api, folder = api, api.plane.root
        config = {"issuers": [{"caFile": str(CA_FILE), **issuer} for issuer in issuers]}
        (folder / "issuers.yaml").write_text(json.dumps(config), encoding="utf-8")
        command = [
            *(*ROLE, "refresher", "--store=kubernetes", f"--kubeconfig={rights}"),
            *("--listen=127.0.0.1:0", f"--spool-dir={folder / 'spool'}", "--identity=bench"),
            *(f"--issuers={folder / 'issuers.yaml'}", "--tokens-per-namespace=999999"),
        ]
        super().__init__("refresher", command, tree)

    def wait_until_scheduled(self, count: int) -> float:
        """Return the seconds from its start until it is ready, leads and knows so many tokens."""

        def knows_all() -> bool:
            samples = dict(re.findall(_SAMPLE, self.page("readyz") and self.page("metrics")))
            return samples.get("leader") == "1.0" and float(samples.get("sources", 0)) >= count

        self.until(knows_all, 120.0)
        return time.monotonic() - self.started

    def count(self) -> tuple[float, int, int]:
        """Return its CPU, and the writes and reads, when nothing is under way."""
        writes, reads = self._api.count()
        for _ in range(200):
            cpu, before = self.cpu(), writes
            writes, reads = self._api.count()
            if writes == before:
                return cpu, writes, reads
        raise DriverError("there was no moment without a request")
