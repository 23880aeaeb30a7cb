"""The leak test of the refresher on a real API server, with servers that echo what they are sent.

A needle may stand in the data of the source and of the grant; an access token in the companion too.
Nowhere else: not in logs at any level, libraries' included, nor metrics, Events, annotations.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.core import annotations
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.sensitive import Sensitive
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.issuer.faults import Delay, Fault
from tests.issuer.policy import Policy
from tests.leak_detection import (
    CLIENT_SECRET,
    STATUSES,
    LogCollector,
    leaked,
    leaking_replies,
    planted_secret,
)
from tests.processes import metrics_of, running
from tests.refresher.bench import Bench, manifest, until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "needles"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Story:
    """A user whose tokens come to grief in every way; `planted` is what nobody may see."""

    def __init__(self, user: UserNamespace, bench: Bench) -> None:
        self.user, self._bench = user, bench
        self.planted: list[str] = [CLIENT_SECRET]

    def seed(self, kind: str) -> Sensitive:
        token = self._bench.issuer.seed("my-app", Sensitive(planted_secret(kind)))
        self.planted.append(token.reveal())
        return token

    def grieve(self, name: str, fault: Fault | None = None, token: Sensitive | None = None) -> None:
        """A Secret whose first exchange goes wrong, and its end."""
        seed = token or self.seed(name)
        self._bench.issuer.add_faults(*([fault] if fault else []))
        self.user.apply(name.replace(" ", "-"), seed)
        wanted = STATUSES.get(name, "Uncertain") if fault else "Ready"
        self.ends(name.replace(" ", "-"), wanted)
        if fault:
            # Its next attempt must not take the fault of the next Secret.
            self.user.kubectl(
                "annotate", "secret", name.replace(" ", "-"), f"{annotations.IS_TOKEN}-"
            )

    def ends(self, name: str, status: str) -> None:
        def ended() -> bool:
            notes = self.user.source(name).annotations
            refreshed = annotations.REFRESHED_AT in notes
            return notes.get(annotations.STATUS) == status and (status != "Ready" or refreshed)

        until(ended, f"{name} is {status}")


def echoes(story: Story) -> Iterator[tuple[str, Fault, Sensitive]]:
    """Servers that tell in every place what they were sent, and what they would have answered."""
    kinds = ("rt", "at", "description")
    for name in leaking_replies(dict.fromkeys(kinds, "")):
        seed, access = story.seed(f"echo {name}"), planted_secret("at")
        story.planted.append(access)
        said = {
            "rt": seed.reveal(),
            "at": access,
            "description": f"{seed.reveal()} of {CLIENT_SECRET}",
        }
        yield name, leaking_replies(said)[name], seed


def an_edit_during_an_exchange(story: Story, bench: Bench) -> None:
    """The API server refuses our writes, with the object in its answer."""
    seed = story.seed("conflict")
    bench.issuer.add_faults(Delay(0.3))
    story.user.apply("conflict", seed)
    until(lambda: story.user.companion("conflict"))
    for number in range(3):
        changed = manifest("conflict", seed.reveal())
        changed["metadata"]["labels"] = {"round": str(number)}
        story.user.kubectl("apply", stdin=changed)
    story.ends("conflict", "Ready")


def a_refused_mirror(story: Story) -> None:
    stone = manifest("stone", story.seed("stone").reveal())
    story.user.kubectl("apply", stdin=stone | {"immutable": True})
    until(lambda: "MirrorRefused" in story.user.warning("stone"))


def a_broken_document(story: Story) -> None:
    story.planted.append(malformed := planted_secret("malformed"))
    broken = manifest("broken", "", document=f'{{"refresh_token": "{malformed}"')
    story.user.kubectl("apply", stdin=broken)
    story.ends("broken", "Invalid")


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
    """The data of a namespace's Secrets, decoded."""
    items: Sequence[dict[str, Any]]
    items = cluster.plane.api("GET", f"/api/v1/namespaces/{namespace}/secrets")["items"]
    values = [value for item in items for value in (item.get("data") or {}).values()]
    return "\n".join(base64.b64decode(value).decode() for value in values)


def live(user: UserNamespace, *names: str) -> tuple[list[str], list[str]]:
    """The refresh and the access tokens in custody."""
    documents = [grant.document for name in names if (grant := user.grant(name))]
    refresh = [d.refresh_token.reveal() for d in documents if d.refresh_token]
    return refresh, [d.access_token.reveal() for d in documents if d.access_token]


def test_the_refresher_shows_no_secret(
    cluster: Cluster, tmp_path: Path, logs: LogCollector
) -> None:
    cluster.reset_namespaces(NS)
    user = UserNamespace(cluster, NS)
    policy = Policy(lifetime=3600.0, extra={"id_token": planted_secret("id_token")})
    with Bench(tmp_path, policy) as bench:
        story = Story(user, bench)
        story.planted.append(str(policy.extra["id_token"]))
        bench.start(KubernetesStore(cluster.client(), Namespaces(sources=(NS,))))
        story.grieve("good")
        for name, fault, seed in echoes(story):
            story.grieve(name, fault, seed)
        an_edit_during_an_exchange(story, bench)
        a_refused_mirror(story)
        a_broken_document(story)
        metrics = generate_latest(bench.registry).decode()
        bench.stop()
        # The same tokens in a process with the command's own logging, at its most talkative.
        flags = ["--store", "kubernetes", "--kubeconfig", str(cluster.refresher)]
        flags += ["--issuers", str(bench.issuers), "--listen", "127.0.0.1:0"]
        flags += ["--spool-dir", str(tmp_path / "other"), "--log-level", "debug"]
        with running("refresher", *flags) as (_, log):
            story.grieve("later good")
            metrics += metrics_of(log)
            logged = log.read_text("utf-8")

    refresh, access = live(user, "good", "conflict", "stone", "later-good")
    assert len(refresh) == len(access) == 4
    never = [*story.planted, *refresh]
    said = "\n".join(logs.lines)
    assert "POST /token" in said, "the libraries were listened to as well"
    assert f"/api/v1/namespaces/{NS}/secrets/good" in said, "the one to the API server, too"
    seen = shown(cluster)
    assert "NeedsReauth" in seen, "Events and annotations are there to be searched"
    for text in (said, logged, metrics, seen):
        assert leaked(text, [*never, *access]) == []
    assert sorted(leaked(data(cluster, "oauth2-csi-tokens"), [*never, *access])) == sorted(access)
    assert set(leaked(data(cluster, "oauth2-csi"), refresh)) == set(refresh), "the search sees them"
