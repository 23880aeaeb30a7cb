"""The leak test of the refresher on a real API server, which shows objects in its refusals.

What authorization servers and processes say is in tests/test_leaks.py. A needle may stand in the
data of the source and of the grant; an access token in the companion too. Nowhere else: not in logs
at any level, libraries' included, nor metrics, Events, annotations.
"""

import base64
import json
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.sensitive import Sensitive
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.issuer.faults import Delay
from tests.issuer.policy import Policy
from tests.kubectl_store import LAST_APPLIED
from tests.leak_detection import CLIENT_SECRET, LogCollector, leaked, planted_secret
from tests.refresher.bench import Bench, manifest
from tests.waiting import until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "needles"
NAMES = ("good", "conflict", "stone")


def shown(cluster: Cluster) -> str:
    """All that the API server shows to those who may not read the data of Secrets."""
    api, texts = cluster.plane.api, []
    for secret in api("GET", "/api/v1/secrets")["items"]:
        secret["metadata"].get("annotations", {}).pop(LAST_APPLIED, None)
        texts.append(json.dumps(secret["metadata"]))
    for path in ("/api/v1/events", "/apis/coordination.k8s.io/v1/leases"):
        texts += [json.dumps(item) for item in api("GET", path)["items"]]
    return "\n".join(texts)


def data(cluster: Cluster, namespace: str) -> str:
    items = cluster.plane.api("GET", f"/api/v1/namespaces/{namespace}/secrets")["items"]
    values = [value for item in items for value in (item.get("data") or {}).values()]
    return "\n".join(base64.b64decode(value).decode() for value in values)


def come_to_grief(user: UserNamespace, bench: Bench, seeds: dict[str, Sensitive]) -> None:
    user.apply("good", seeds["good"])
    until(lambda: user.generation("good") == 2 and user.is_mirrored("good"))
    # The API server refuses our writes after an edit during an exchange, and those of a mirror.
    bench.issuer.add_faults(Delay(0.3))
    user.apply("conflict", seeds["conflict"])
    until(lambda: user.companion("conflict"))
    for number in range(3):
        changed = manifest("conflict", seeds["conflict"].reveal())
        changed["metadata"]["labels"] = {"round": str(number)}
        user.kubectl("apply", stdin=changed)
    until(lambda: user.generation("conflict") == 2 and user.is_final("conflict"))
    stone = manifest("stone", seeds["stone"].reveal())
    user.kubectl("apply", stdin=stone | {"immutable": True})
    until(lambda: "MirrorRefused" in user.warning("stone"))


def test_the_refresher_shows_no_secret(
    cluster: Cluster, tmp_path: Path, logs: LogCollector
) -> None:
    cluster.reset_namespaces(NS)
    user = UserNamespace(cluster, NS)
    policy = Policy(lifetime=3600.0, extra={"id_token": planted_secret("id_token")})
    with Bench(tmp_path, policy) as bench:
        issuer = bench.issuer
        seeds = {n: issuer.seed("my-app", Sensitive(planted_secret(n))) for n in NAMES}
        bench.start(KubernetesStore(cluster.client(), Namespaces(sources=(NS,))))
        come_to_grief(user, bench, seeds)
        metrics = generate_latest(bench.registry).decode()
    documents = [grant.document for name in NAMES if (grant := user.grant(name))]
    refresh = [d.refresh_token.reveal() for d in documents if d.refresh_token]
    access = [d.access_token.reveal() for d in documents if d.access_token]
    assert len(refresh) == len(access) == len(NAMES)
    never = [CLIENT_SECRET, str(policy.extra["id_token"]), *refresh]
    never += [seed.reveal() for seed in seeds.values()]
    said, seen = "\n".join(logs.lines), shown(cluster)
    assert f"/api/v1/namespaces/{NS}/secrets/good" in said, "the libraries were listened to"
    assert "MirrorRefused" in seen, "Events and annotations are there to be searched"
    for text in (said, metrics, seen):
        assert leaked(text, [*never, *access]) == []
    assert sorted(leaked(data(cluster, "oauth2-csi-tokens"), [*never, *access])) == sorted(access)
    assert set(leaked(data(cluster, "oauth2-csi"), refresh)) == set(refresh), "the search sees them"
