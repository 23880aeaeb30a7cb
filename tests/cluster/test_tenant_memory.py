"""The worst that one tenant may put into a cluster, and a refresher with the chart's memory."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from csidriver.core import annotations, names
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh.grant import MAX_SEEDS, MAX_SPENT, adopt
from csidriver.core.refresh.grant_secret import to_secret
from csidriver.core.refresh.source import MAX_CREDENTIAL, MAX_FIELDS, Source
from csidriver.core.status import Status
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.tenants.hostile_secrets import LONG_ANNOTATIONS
from tests.cluster.user_namespace import UserNamespace
from tests.memory_cgroup import MemoryCgroup, memory_cgroup
from tests.processes import metrics_of, running
from tests.refresher.bench import Bench, until

pytestmark = pytest.mark.tools(*PROGRAMS)

VALUES = yaml.safe_load(
    (Path(__file__).parents[2] / "deploy/chart/values.yaml").read_text(encoding="utf-8")
)
LIMIT = int(VALUES["refresher"]["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
MOST = VALUES["refresher"]["tokensPerNamespace"]
HOSTILE, VICTIM = "mallory", "victim"
# One emoji makes four bytes of each character of a text in Python.
EMOJI = "\U0001f600"
# Documents that cannot be parsed, and Secrets above the cap; bytes that nobody needs.
UNPARSABLE, MORE, JUNK = 60, 20, 900_000
PATIENCE = 240.0


def _document(number: int) -> str:
    """The largest document that is allowed, with the most fields."""
    fields = {"refresh_token": f"rt-{number}-{EMOJI}", "token_type": "A" * 64}
    fields |= {f"{EMOJI}-{field}": "" for field in range(MAX_FIELDS - 3)}
    room = annotations.MAX_DOCUMENT - len(json.dumps(fields, ensure_ascii=False).encode())
    return json.dumps(fields | {"x": "y" * (room - len(', "x": ""'))}, ensure_ascii=False)


def _secret(name: str, oauth: str, junk: int) -> dict[str, Any]:
    client = EMOJI + "c" * (MAX_CREDENTIAL - len(EMOJI.encode()))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "annotations": LONG_ANNOTATIONS
            | {annotations.IS_TOKEN: "true", annotations.ISSUER: "demo"},
        },
        "stringData": {
            annotations.KEY_OAUTH: oauth,
            annotations.KEY_CLIENT_ID: client,
            annotations.KEY_CLIENT_SECRET: client,
            "junk": EMOJI + "j" * junk,
        },
    }


class _Filler:
    """Creates objects as administrator, over some connections."""

    def __init__(self, cluster: Cluster) -> None:
        self._plane = cluster.plane
        self._pool = urllib3.PoolManager(ca_certs=str(cluster.plane.ca), maxsize=8)
        path = f"/api/v1/namespaces/{HOSTILE}"
        self._namespace_uid = cluster.plane.api("GET", path)["metadata"]["uid"]

    def fill(self) -> None:
        """Let the tenant have all that is allowed, and more."""
        with ThreadPoolExecutor(8) as workers:
            list(workers.map(self._adopted, range(MOST)))
            list(workers.map(self._waiting, range(MORE)))
            list(workers.map(self._unparsable, range(UNPARSABLE)))
        self._pool.clear()

    def _adopted(self, number: int) -> None:
        """Create a Secret and its grant, which has the most hashes and waits for its user."""
        name = f"worst-{number}"
        stored = self._create(HOSTILE, _secret(name, _document(number), JUNK * (number % 10 == 0)))
        source = Source.parse(Secret.from_manifest(stored))
        grant = replace(
            adopt(source, Issuer("demo", issuer="https://demo.example"), 1.0, None),
            seeds=tuple(f"{seed:016x}" for seed in range(MAX_SEEDS)),
            spent=tuple(f"{spent:016x}" for spent in range(MAX_SPENT)),
            namespace_uid=self._namespace_uid,
            source_version=stored["metadata"]["resourceVersion"],
            next_refresh=None,
            status=Status.NEEDS_REAUTH,
        )
        self._create(names.DRIVER_NAMESPACE, to_secret(grant, names.DRIVER_NAMESPACE).to_manifest())

    def _waiting(self, number: int) -> None:
        self._create(HOSTILE, _secret(f"more-{number}", _document(number), JUNK))

    def _unparsable(self, number: int) -> None:
        self._create(HOSTILE, _secret(f"unparsable-{number}", EMOJI + "x" * JUNK, 0))

    def _create(self, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._plane.server}/api/v1/namespaces/{namespace}/secrets?fieldManager=user"
        headers = {"Authorization": self._plane.authorization, "Content-Type": "application/json"}
        answer = self._pool.request("POST", url, body=json.dumps(manifest), headers=headers)
        assert answer.status == 201, answer.data[:1000]
        created: dict[str, Any] = answer.json()
        return created


@pytest.fixture
def limited() -> Iterator[MemoryCgroup]:
    with memory_cgroup("refresher", LIMIT) as cgroup:
        yield cgroup


def test_a_tenant_with_all_that_is_allowed_ends_no_refresher(
    limited: MemoryCgroup, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.reset_namespaces(HOSTILE, VICTIM)
    _Filler(cluster).fill()
    victim, hostile = UserNamespace(cluster, VICTIM), UserNamespace(cluster, HOSTILE)
    with Bench(tmp_path) as bench:
        flags = ["--store", "kubernetes", "--kubeconfig", str(cluster.refresher)]
        flags += ["--issuers", str(bench.issuers), "--listen", "127.0.0.1:0"]
        flags += ["--identity", "one", "--spool-dir", str(tmp_path / "spool")]
        for start in range(2):
            name = f"hello-{start}"
            victim.create(name, bench.issuer.seed("my-app"))
            with running("refresher", *flags, prefix=limited.prefix) as (process, log):

                def has_ended(log: Path = log, name: str = name) -> bool:
                    """Everybody was told, and the victim served."""
                    text = metrics_of(log)
                    wanted = "queue_depth 0.0", f'tokens{{status="NeedsReauth"}} {MOST}.0'
                    return all(line in text for line in wanted) and victim.is_final(name)

                until(lambda: "metrics on" in log.read_text(), "a start", PATIENCE, 0.1)
                until(lambda: process.poll() is not None or has_ended(), "the end", PATIENCE, 1.0)
                assert process.poll() is None, f"exit {process.returncode}"
                assert limited.kills == 0
    told = hostile.source(f"more-{MORE - 1}").annotations
    assert f"has tokens of {MOST} Secrets already" in told[annotations.MESSAGE]
    told = hostile.source(f"unparsable-{UNPARSABLE - 1}").annotations
    assert "is larger than 32 KiB" in told[annotations.MESSAGE]
