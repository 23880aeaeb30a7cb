"""How fast the webhook answers kube-apiserver: TLS on loopback, a certificate from files."""

import http.client
import json
import re
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from bench.rows import Measure, Row
from csidriver.adapters.pki import Pki
from tests.processes import running
from tests.refresher.bench import until

EXAMPLE = Path(__file__).parents[1] / "examples/announcement/token-printer.yaml"
_LARGE = 256 << 10  # bytes of annotations, the most that a pod may have
_KEPT = "webhook_answer_ms"
MEASURES = {
    "small": (
        Measure(f"{_KEPT}_p50", "answer on a kept connection, p50", "ms"),
        Measure(f"{_KEPT}_p99", "answer on a kept connection, p99", "ms", 0.99, 5.0),
    ),
    "large": (Measure(f"{_KEPT}_large_p50", "... a pod of 256 KiB, p50", "ms"),),
    "new": (Measure(f"{_KEPT}_new_p50", "... on a new connection, handshake included, p50", "ms"),),
}


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """All rows of the webhook."""
    say("webhook")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trust = _prepared(folder)
        flags = ["--store", "kubernetes", "--listen", "127.0.0.1:0"]
        flags += ["--webhook-listen", "127.0.0.1:0"]
        flags += ["--tls-cert-file", str(folder / "crt"), "--tls-key-file", str(folder / "key")]
        with running("webhook", *flags) as (process, log):
            pattern = re.compile(r"admission reviews on port ([0-9]+)")
            port = int(until(lambda: pattern.search(log.read_text(encoding="utf-8")))[1])
            taken = _rounds(port, trust, 5 if quick else 15)
            memory = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    for kind, measures in MEASURES.items():
        yield from (one.row(taken[kind]) for one in measures)
    rss = re.search(r"^Rss:\s+([0-9]+) kB$", memory, re.MULTILINE)
    yield Row("webhook_rss_mib", "RSS after all that", "MiB", int(rss[1]) / 1024 if rss else 0.0)


def _rounds(port: int, trust: ssl.SSLContext, count: int) -> dict[str, list[list[float]]]:
    """Times in milliseconds by kind, the kinds taking turns."""
    small, large = _review(0), _review(_LARGE)
    taken: dict[str, list[list[float]]] = {kind: [] for kind in MEASURES}
    client = _connected(port, trust)
    _ask(client, small)
    for _ in range(count):
        taken["small"].append([_timed(lambda: _ask(client, small)) for _ in range(200)])
        taken["large"].append([_timed(lambda: _ask(client, large)) for _ in range(10)])
        taken["new"].append([_timed(lambda: _anew(port, trust, small)) for _ in range(10)])
    client.close()
    return taken


def _timed(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def _anew(port: int, trust: ssl.SSLContext, body: bytes) -> None:
    client = _connected(port, trust)
    _ask(client, body)
    client.close()


def _connected(port: int, trust: ssl.SSLContext) -> http.client.HTTPSConnection:
    client = http.client.HTTPSConnection("localhost", port, context=trust, timeout=30)
    client.connect()
    return client


def _ask(client: http.client.HTTPSConnection, body: bytes) -> None:
    client.request("POST", "/mutate", body, {"Content-Type": "application/json"})
    with client.getresponse() as response:
        assert "patch" in json.loads(response.read())["response"]  # noqa: S101 - or it is no answer


def _review(size: int) -> bytes:
    """What kube-apiserver sends for the announcement's pod, made larger by an annotation."""
    pod = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    pod["metadata"]["annotations"]["size"] = "x" * size
    request = {"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE", "object": pod}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(review).encode()


def _prepared(folder: Path) -> ssl.SSLContext:
    """Certificate and key in a folder; a client that trusts them."""
    pki = Pki()
    authority, signing_key = pki.new_authority(time.time(), 7200.0)
    made, key = pki.new_serving(authority, signing_key, ["localhost"], time.time(), 3600.0)
    (folder / "crt").write_text(made.pem, encoding="ascii")
    (folder / "key").write_text(key.reveal(), encoding="ascii")
    return ssl.create_default_context(cadata=authority.pem)
