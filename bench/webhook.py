"""How long kube-apiserver waits for an admission, beside a server with a canned answer."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from bench.certificate import write_certificate
from bench.process import PATIENCE, PROGRAM, environment
from bench.room import MEMORY
from bench.rows import Row, over_rounds, ratio
from csidriver.core import contract
from csidriver.errors import DriverError

ROUNDS, QUICK_ROUNDS = 9, 3
SAMPLES, QUICK_SAMPLES = 400, 100
_PATH = "/mutate"
_CONTAINERS = ("web", "worker", "metrics")


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Ask both over a connection that stays, rounds of both in turn."""
    body = json.dumps(review()).encode()
    files = MEMORY / "tls.crt", MEMORY / "tls.key"
    write_certificate(*files)
    with contextlib.ExitStack() as stack:
        say("starting the webhook")
        port = stack.enter_context(_webhook(files))
        ours = Client(port, files[0])
        answer = ours.ask(body)
        _check(answer)
        canned = MEMORY / "answer.json"
        canned.write_bytes(answer)
        command = ["-m", "bench.canned_server", *map(str, files), str(canned)]
        server = stack.enter_context(_started(command, piped=True))
        floor = Client(int(server.stdout.readline() if server.stdout else 0), files[0])
        samples = QUICK_SAMPLES if quick else SAMPLES
        for client in (ours, floor):
            client.times(body, samples)
        taken, floors = [], []
        for number in range(count := QUICK_ROUNDS if quick else ROUNDS):
            say(f"round {number + 1} of {count}")
            taken.append(ours.times(body, samples))
            floors.append(floor.times(body, samples))
    yield over_rounds("webhook_p50_ms", taken)
    yield over_rounds("webhook_p99_ms", taken, 0.99)
    yield over_rounds("webhook_floor_ms", floors)
    yield ratio("webhook_ratio_floor", taken, floors)


class Client:
    """One connection, as kube-apiserver keeps it."""

    def __init__(self, port: int, authority: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        self._connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=PATIENCE)

    def ask(self, body: bytes) -> bytes:
        """The answer to one review. Raises DriverError if it is none."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", _PATH, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:  # noqa: PLR2004
            raise DriverError(f"the webhook answered {answer.status}")
        return content

    def times(self, body: bytes, count: int) -> list[float]:
        """Milliseconds of so many reviews."""
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            self.ask(body)
            taken.append(1000 * (time.perf_counter() - began))
        return taken


def review() -> dict[str, Any]:
    """What kube-apiserver sends for a pod with three containers, each of which wants a token."""
    wanted = [{"secretName": "eos", "container": name, "owner": 1000} for name in _CONTAINERS]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "analysis-7c9f8d6b54-",
            "namespace": "physics",
            "labels": {"app": "analysis", "pod-template-hash": "7c9f8d6b54"},
            "annotations": {contract.TO_INJECT: json.dumps(wanted)},
        },
        "spec": {
            "containers": [_container(name) for name in _CONTAINERS],
            "volumes": [{"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420}}],
            "serviceAccountName": "default",
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute"}
                for taint in ("not-ready", "unreachable")
            ],
        },
    }
    request = {
        "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "physics",
        "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def _container(name: str) -> dict[str, Any]:
    environment = [{"name": f"SETTING_{number}", "value": "x" * 40} for number in range(10)]
    return {
        "name": name,
        "image": f"registry.example/{name}:1.0",
        "env": environment,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [
            {
                "name": "kube-api-access-x7k2p",
                "readOnly": True,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            }
        ],
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
    }


def _check(answer: bytes) -> None:
    response = json.loads(answer)["response"]
    if not (response["allowed"] and response.get("patch")):
        raise DriverError("the webhook does not inject")


@contextlib.contextmanager
def _webhook(files: tuple[Path, Path]) -> Iterator[int]:
    """The webhook's port while it runs; no API server is needed with a certificate of ours."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    flags = [
        "--store",
        f"dir:{MEMORY}",
        "--listen",
        "127.0.0.1:0",
        "--webhook-listen",
        f"127.0.0.1:{port}",
    ]
    flags += ["--tls-cert-file", str(files[0]), "--tls-key-file", str(files[1])]
    with _started([*PROGRAM, "webhook", *flags]) as process:
        deadline = time.monotonic() + PATIENCE
        while not _serves(port, files[0]):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DriverError("the webhook does not serve")
            time.sleep(0.05)
        yield port


@contextlib.contextmanager
def _started(
    arguments: Sequence[str], *, piped: bool = False
) -> Iterator["subprocess.Popen[bytes]"]:
    with (MEMORY / "webhook.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else log,
            stderr=log,
            env=os.environ | environment(MEMORY),
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _serves(port: int, authority: Path) -> bool:
    """Whether it has read its certificate, too."""
    context = ssl.create_default_context(cafile=str(authority))
    try:
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return True
    except OSError:
        return False
