"""How long kube-apiserver waits for an admission, beside a server with a canned answer."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import urllib3

from bench.processes import MEMORY, ROLE, Child, Program
from bench.report import Row, shares
from bench.servers import CA_FILE, CERTIFICATE_FILE, HOST, KEY_FILE, serve_canned
from csidriver.core import annotations, names
from csidriver.errors import DriverError
from tests.adapters.oauth.peer import certificate
from tests.core.admission.reviews import review_of

_CONTAINERS = ("web", "worker", "metrics")


def measure(*, quick: bool) -> Iterator[Row]:
    """Ask both over a connection that stays, as kube-apiserver has it, rounds of both in turn."""
    rounds, count = (2, 20) if quick else (9, 400)
    with ExitStack() as stack:
        certificate(MEMORY)
        flags = ["--store=kubernetes", "--listen=127.0.0.1:0", f"--webhook-listen={HOST}:0"]
        flags += [f"--tls-cert-file={CERTIFICATE_FILE}", f"--tls-key-file={KEY_FILE}"]
        webhook = stack.enter_context(Program("webhook", [*ROLE, "webhook", *flags]))
        port = webhook.until(lambda: re.search(r"reviews on port ([0-9]+)", webhook.log))[1]
        # Before it has its certificate it closes every connection.
        webhook.until(lambda: webhook.page("readyz"))
        ask = asker(port)
        answer = ask()
        if not json.loads(answer)["response"].get("patch"):
            raise DriverError("the webhook does not inject")
        ask_floor = asker(stack.enter_context(Child(serve_canned, answer)).receive())
        ours, floor = [], []
        for _ in range(rounds):
            ours.append([_time(ask) for _ in range(count)])
            floor.append([_time(ask_floor) for _ in range(count)])
        memory = webhook.memory()
    yield Row("webhook_p50_ms", shares(ours), "", shares(floor), "webhook_ratio_floor")
    yield Row("webhook_p99_ms", shares(ours, 0.99), "<= 5", shares(floor, 0.99))
    yield Row("webhook_rss_mib", [memory])


def asker(port: object) -> Callable[[], bytes]:
    pool, body = urllib3.PoolManager(ca_certs=str(CA_FILE), retries=False), json.dumps(review())
    url = f"https://{HOST}:{port}{names.ADMISSION_PATH}"

    def ask() -> bytes:
        headers = {"Content-Type": "application/json"}
        answer = pool.request("POST", url, body=body, headers=headers)
        if answer.status != 200:  # noqa: PLR2004
            raise DriverError(f"the webhook answered {answer.status}")
        return answer.data

    return ask


def _time(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - began)


def review() -> dict[str, Any]:
    """Return the review of a pod of a usual size, whose containers want a token."""
    wanted = [{"secretName": "eos", "container": name, "owner": 1000} for name in _CONTAINERS]
    container = {
        "image": "registry.example/image:1.0",
        "env": [{"name": f"SETTING_{number}", "value": "x" * 40} for number in range(10)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [{"name": "api", "mountPath": "/var/run/secrets", "readOnly": True}],
    }
    containers = [container | {"name": name} for name in _CONTAINERS]
    spec = {"containers": containers, "volumes": [{"name": "api", "projected": {}}]}
    texts = {annotations.TO_INJECT: json.dumps(wanted)}
    metadata = {"namespace": "physics", "annotations": texts}
    return review_of({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
