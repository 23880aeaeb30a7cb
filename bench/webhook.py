"""How long kube-apiserver waits for an admission, beside a server with a canned answer."""

import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPSConnection

from bench.process import PROGRAM, TIMEOUT, environment, memory_of
from bench.review import review
from bench.room import MEMORY
from bench.rows import Row, over_rounds, ratio
from csidriver.errors import DriverError
from csidriver.webhook.x509 import CertificateFactory

ROUNDS, QUICK_ROUNDS = 9, 3
SAMPLES, QUICK_SAMPLES = 400, 100
# Samples of a round that take longer: large pods, and new connections.
_FEW = 20
# Bytes of annotations, the most that a pod may have.
_LARGE = 256 << 10
_HOST = "localhost"
_PORT = re.compile(r"admission reviews on port ([0-9]+)")
_FILES = MEMORY / "tls.crt", MEMORY / "tls.key"
_LOG = MEMORY / "webhook.log"
# Rounds of milliseconds, by server and kind.
Taken = dict[tuple[str, str], list[list[float]]]


class Client:
    """One connection, as kube-apiserver keeps it."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self._connection = HTTPSConnection(_HOST, port, context=trust, timeout=TIMEOUT)

    def ask(self, body: bytes) -> bytes:
        """Send one review and return the response, or raise DriverError."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/mutate", body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:  # noqa: PLR2004
            raise DriverError(f"the webhook answered {answer.status}")
        return content

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def times(self, body: bytes, count: int) -> list[float]:
        """Milliseconds of so many reviews."""
        return [_timed(lambda: self.ask(body)) for _ in range(count)]


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Ask both over a connection that stays, rounds of both in turn."""
    trust = _prepared()
    small = json.dumps(review()).encode()
    with contextlib.ExitStack() as stack:
        say("starting the webhook")
        process, port = stack.enter_context(_webhook())
        answer = Client(port, trust).ask(small)
        _check(answer)
        ends = {"ours": port, "floor": stack.enter_context(_canned(answer))}
        clients = {name: Client(end, trust) for name, end in ends.items()}
        samples = QUICK_SAMPLES if quick else SAMPLES
        for client in clients.values():
            client.times(small, samples)
        taken: Taken = {}
        for number in range(count := QUICK_ROUNDS if quick else ROUNDS):
            say(f"round {number + 1} of {count}")
            for name, client in clients.items():
                for kind, times in _round(client, ends[name], trust, samples).items():
                    taken.setdefault((name, kind), []).append(times)
        used = memory_of(process.pid)["Rss"] / 1024
    yield from _rows(taken)
    yield Row("webhook_rss_mib", used)


def _round(
    client: Client, port: int, trust: ssl.SSLContext, samples: int
) -> dict[str, list[float]]:
    """Milliseconds by kind, of the webhook or of its floor."""
    small, large = (json.dumps(review(size)).encode() for size in (0, _LARGE))

    def anew() -> None:
        once = Client(port, trust)
        once.ask(small)
        once.close()

    return {
        "small": client.times(small, samples),
        "large": client.times(large, _FEW),
        "new": [_timed(anew) for _ in range(_FEW)],
    }


def _rows(taken: Taken) -> Iterator[Row]:
    small, floor = taken["ours", "small"], taken["floor", "small"]
    yield over_rounds("webhook_p50_ms", small)
    yield over_rounds("webhook_p99_ms", small, 0.99)
    yield over_rounds("webhook_floor_ms", floor)
    yield ratio("webhook_ratio_floor", small, floor)
    for kind in ("large", "new"):
        yield over_rounds(f"webhook_{kind}_ms", taken["ours", kind])
        yield over_rounds(f"webhook_{kind}_floor_ms", taken["floor", kind])


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def _check(answer: bytes) -> None:
    response = json.loads(answer)["response"]
    if not (response["allowed"] and response.get("patch")):
        raise DriverError("the webhook does not inject")


def _prepared() -> ssl.SSLContext:
    """Write certificate and key; a client's context that trusts them."""
    pki, now = CertificateFactory(), time.time()
    authority, signing_key = pki.new_authority(now, 7200.0)
    made, key = pki.issue_serving_certificate(authority, signing_key, [_HOST], now, 3600.0)
    _FILES[0].write_text(made.pem, encoding="ascii")
    _FILES[1].write_text(key.reveal(), encoding="ascii")
    return ssl.create_default_context(cadata=authority.pem)


@contextlib.contextmanager
def _webhook() -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run the webhook with a certificate of ours, without an API server; give its port too."""
    flags = ["--store", "kubernetes", "--listen", "127.0.0.1:0", "--webhook-listen", "127.0.0.1:0"]
    flags += ["--tls-cert-file", str(_FILES[0]), "--tls-key-file", str(_FILES[1])]
    with _started([*PROGRAM, "webhook", *flags]) as process:
        deadline = time.monotonic() + TIMEOUT
        while not (found := _PORT.search(_LOG.read_text(encoding="utf-8"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DriverError(f"the webhook does not serve:\n{_LOG.read_text()[-2000:]}")
            time.sleep(0.05)
        while not _answers(port := int(found[1])):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DriverError(f"the webhook has no certificate:\n{_LOG.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process, port


def _answers(port: int) -> bool:
    """Return True once the webhook has its certificate; before, it closes every connection."""
    trust = ssl.create_default_context(cafile=str(_FILES[0]))
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain,
            trust.wrap_socket(plain),
        ):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _canned(answer: bytes) -> Iterator[int]:
    """Run a server that always sends this response; give its port."""
    path = MEMORY / "answer.json"
    path.write_bytes(answer)
    command = ["-m", "bench.canned_server", *map(str, _FILES), str(path)]
    with _started(command, piped=True) as server:
        yield int(server.stdout.readline() if server.stdout else 0)


@contextlib.contextmanager
def _started(
    arguments: Sequence[str], *, piped: bool = False
) -> Iterator["subprocess.Popen[bytes]"]:
    with _LOG.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else log,
            stderr=log,
            env=environment(MEMORY),
        )
    with process:
        try:
            yield process
        finally:
            process.kill()
