"""What policies let stolen tokens of the driver's accounts change, at a real API server."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from csidriver.core.annotations import IS_TOKEN, STATUS
from csidriver.core.names import (
    BROKER,
    BROKER_CA,
    DRIVER_NAMESPACE,
    PUBLIC_ISSUERS,
    REFRESHER,
    WEBHOOK,
)
from csidriver.webhook.x509 import CertificateFactory
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.installation import config_map
from tests.cluster.webhook_cluster import CONFIGURATION, CONFIGURATIONS, WebhookCluster
from tests.waiting import until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "policies"
SECRETS = f"/api/v1/namespaces/{NS}/secrets"
CONFIG_MAPS = f"/api/v1/namespaces/{DRIVER_NAMESPACE}/configmaps"
OPENAPI = "/openapi/v3/apis/admissionregistration.k8s.io/v1"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}
SEEN = {STATUS: "Seen"}

Patch = Any  # a merge patch, or a list of JSON patches


@dataclass(frozen=True)
class Attack:
    """A change with a stolen token, and what the policy `policy` answers."""

    account: str
    policy: str
    path: str
    patch: Patch
    text: str


@dataclass
class Thief:
    """Changes objects with stolen tokens of service accounts."""

    cluster: Cluster
    _tokens: dict[str, str] = field(default_factory=dict)

    def patch(self, account: str, path: str, patch: Patch, *, dry: bool = False) -> str:
        if account not in self._tokens:
            words = ("create", "token", account, f"--namespace={DRIVER_NAMESPACE}")
            self._tokens[account] = self.cluster.plane.kubectl(*words).strip()
        kind = f"application/{'json' if isinstance(patch, list) else 'merge'}-patch+json"
        where = f"{path}{'?dryRun=All' if dry else ''}"
        answer = self.cluster.plane.api("PATCH", where, patch, kind, self._tokens[account])
        return str(answer["message"]) if answer["kind"] == "Status" else ""


def noted(annotations: Mapping[str, str | None]) -> Patch:
    return {"metadata": {"annotations": annotations}}


METADATA: dict[str, Patch] = {
    "label": {"metadata": {"labels": {"a": "c"}}},
    "annotation": noted({"a": "b"}),
    "owner": {"metadata": {"ownerReferences": [OWNER]}},
    "finalizer": {"metadata": {"finalizers": ["a.b/c"]}},
}
NOT_ENROLLED = "the Secret is not annotated"
ANNOTATIONS = "the refresher changes only annotations under"
KEYS = "the refresher changes only the keys oauth and oauth2, and removes none"
REST = "the refresher changes neither immutable nor"
MANY = "the Secret has more than 500 keys or 500 annotations"
OF_SECRETS: dict[str, tuple[str, Patch, str]] = {
    "token of an unannotated": ("password", {"stringData": {"oauth": "x"}}, NOT_ENROLLED),
    "status of an unannotated": ("password", noted(SEEN), NOT_ENROLLED),
    "enrolment": ("password", noted({IS_TOKEN: "true"}), NOT_ENROLLED),
    "status of one that is annotated otherwise": ("not-any-more", noted(SEEN), NOT_ENROLLED),
    "enrolment again": ("not-any-more", noted({IS_TOKEN: "true"}), NOT_ENROLLED),
    "end of an enrolment": ("enrolled", noted({IS_TOKEN: None}), ANNOTATIONS),
    "end of all annotations": ("enrolled", {"metadata": {"annotations": None}}, ANNOTATIONS),
    "another enrolment": ("enrolled", noted({IS_TOKEN: "false"}), ANNOTATIONS),
    "further annotation": ("enrolled", noted({"more": "x"}), ANNOTATIONS),
    "other annotation": ("enrolled", noted({"other": "x"}), ANNOTATIONS),
    "end of an annotation": ("enrolled", noted({"other": None}), ANNOTATIONS),
    "further key": ("enrolled", {"stringData": {"more": "x"}}, KEYS),
    "other key": ("enrolled", {"stringData": {"other": "x"}}, KEYS),
    "end of a key": ("enrolled", {"data": {"other": None}}, KEYS),
    "end of the token": ("enrolled", {"data": {"oauth": None}}, KEYS),
    "end of all keys": ("enrolled", {"data": None}, KEYS),
    "immutable": ("enrolled", {"immutable": True}, REST),
    "end of labels": ("enrolled", {"metadata": {"labels": None}}, REST),
    **{name: ("enrolled", METADATA[name], REST) for name in ("label", "owner", "finalizer")},
    # The policy walks through so many only.
    "status of one with many annotations": ("many-annotations", noted(SEEN), MANY),
    "status of one with many keys": ("many-data", noted(SEEN), MANY),
}
# Who fills which key of a ConfigMap.
FILLED = {PUBLIC_ISSUERS: (REFRESHER, "issuers.json"), BROKER_CA: (BROKER, "ca.crt")}
OF_CONFIG_MAPS: dict[str, tuple[Patch, str]] = {
    "further key": ({"data": {"more": "x"}}, "leaves only the key"),
    "bytes": ({"binaryData": {"more": "eA=="}}, "leaves only the key"),
    "immutable": ({"immutable": True}, "leaves only the key"),
    **{name: (patch, "changes no metadata") for name, patch in METADATA.items()},
}
SELECTOR = {"matchLabels": {"a": "b"}}
EVERYTHING = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["*"]}
# Field of an entry of the webhook's configuration: another value of it.
ENTRY: dict[str, Any] = {
    "rules": [EVERYTHING],
    "matchConditions": [],
    "namespaceSelector": SELECTOR,
    "objectSelector": SELECTOR,
    "matchPolicy": "Exact",
    "failurePolicy": "Ignore",
    "reinvocationPolicy": "Never",
    "sideEffects": "NoneOnDryRun",
    "timeoutSeconds": 30,
    "admissionReviewVersions": ["v1", "v1beta1"],
}
SERVICE = {"name": "x", "namespace": "x", "path": "/mutate", "port": 443}
CONNECTIONS = {"service": (0, SERVICE), "url": (1, "https://thief.example/")}
EVERY_ENTRY = {
    "renamed": {"op": "replace", "path": "/webhooks/0/name", "value": "x.y.z"},
    "removed": {"op": "remove", "path": "/webhooks/1"},
    "moved": {"op": "move", "from": "/webhooks/1", "path": "/webhooks/0"},
    "all removed": {"op": "remove", "path": "/webhooks"},
}


def attacks() -> Iterator[Any]:
    for name, (secret, patch, text) in OF_SECRETS.items():
        attack = Attack(REFRESHER, REFRESHER, f"{SECRETS}/{secret}", patch, text)
        yield pytest.param(attack, id=f"Secret: {name}")
    for filled, (account, _) in FILLED.items():
        role = account.removeprefix("oauth2-csi-")
        for name, (patch, text) in OF_CONFIG_MAPS.items():
            path = f"{CONFIG_MAPS}/{filled}"
            attack = Attack(account, filled, path, patch, f"the {role} {text}")
            yield pytest.param(attack, id=f"{filled}: {name}")
    webhook = partial(Attack, WEBHOOK, WEBHOOK, CONFIGURATION)
    for number in (0, 1):
        for name, value in ENTRY.items():
            change = [{"op": "add", "path": f"/webhooks/{number}/{name}", "value": value}]
            attack = webhook(change, f"the webhook does not change {name}")
            yield pytest.param(attack, id=f"webhook {number}: {name}")
    for name, (number, value) in CONNECTIONS.items():
        path = f"/webhooks/{number}/clientConfig/{name}"
        change = [{"op": "add", "path": path, "value": value}]
        attack = webhook(change, f"the webhook does not change clientConfig.{name}")
        yield pytest.param(attack, id=f"webhook: {name}")
    for name, operation in EVERY_ENTRY.items():
        attack = webhook([operation], "the webhook adds, removes and renames no entry")
        yield pytest.param(attack, id=f"webhook: {name}")
    for name, patch in METADATA.items():
        attack = webhook(patch, "the webhook changes no metadata")
        yield pytest.param(attack, id=f"webhook: {name}")


def fill(cluster: Cluster, webhooks: WebhookCluster) -> None:
    api = cluster.plane.api
    cluster.reset_namespaces(NS)
    many = {f"key-{number}": "" for number in range(501)}
    for name, annotations, data in (
        ("enrolled", {IS_TOKEN: "true", "other": "a"}, {"oauth": "YQ==", "other": "Yg=="}),
        ("not-any-more", {IS_TOKEN: "false"}, {"oauth": "YQ=="}),
        ("password", {}, {"oauth": "YQ=="}),
        ("many-annotations", {IS_TOKEN: "true", **many}, {}),
        ("many-data", {IS_TOKEN: "true"}, many),
    ):
        metadata = {"name": name, "annotations": annotations, "labels": {"a": "b"}}
        assert api("POST", SECRETS, {"metadata": metadata, "data": data})["kind"] == "Secret"
    for name in FILLED:
        api("POST", CONFIG_MAPS, config_map(name))
    webhooks.reset()
    manifest = webhooks.manifest(443)
    # A second entry, which has a URL.
    by_url = {"name": "by-url.oauth2.csi.cern.ch", "clientConfig": {"url": "https://127.0.0.1:1/"}}
    manifest["webhooks"].append({**manifest["webhooks"][0], **by_url})
    manifest["metadata"]["annotations"] = {"mine": "true"}
    assert "webhooks" in api("POST", CONFIGURATIONS, manifest)


@pytest.fixture(scope="module")
def webhooks(cluster: Cluster) -> WebhookCluster:
    return WebhookCluster(cluster)


@pytest.fixture(scope="module")
def thief(cluster: Cluster, webhooks: WebhookCluster) -> Iterator[Thief]:
    fill(cluster, webhooks)
    thief = Thief(cluster)
    targets = {REFRESHER: f"{SECRETS}/password", WEBHOOK: CONFIGURATION}
    for account, path in [
        *targets.items(),
        *((account, f"{CONFIG_MAPS}/{name}") for name, (account, _) in FILLED.items()),
    ]:
        # Policies are in force about a second after they were created.
        denied = partial(thief.patch, account, path, METADATA["annotation"], dry=True)
        until(lambda denied=denied: "denied request" in denied())  # type: ignore[misc]
    yield thief
    webhooks.reset()


@pytest.mark.parametrize("attack", list(attacks()))
def test_a_stolen_token_does_not_change(thief: Thief, attack: Attack) -> None:
    get = partial(thief.cluster.plane.api, "GET", attack.path)
    before = get()
    name = attack.policy
    told = f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: {attack.text}"
    assert told in thief.patch(attack.account, attack.path, attack.patch)
    assert get() == before


def test_every_field_that_the_api_server_knows_is_tried(cluster: Cluster) -> None:
    schemas = cluster.plane.api("GET", OPENAPI)["components"]["schemas"]
    known = {
        name: set(schemas[f"io.k8s.api.admissionregistration.v1.{name}"]["properties"])
        for name in ("MutatingWebhook", "WebhookClientConfig", "MutatingWebhookConfiguration")
    }
    assert known == {
        "MutatingWebhook": {"name", "clientConfig", *ENTRY},
        "WebhookClientConfig": {"caBundle", *CONNECTIONS},
        "MutatingWebhookConfiguration": {"apiVersion", "kind", "metadata", "webhooks"},
    }


def test_the_roles_change_what_is_theirs(thief: Thief, webhooks: WebhookCluster) -> None:
    enrolled = f"{SECRETS}/enrolled"
    for key in ("oauth", "oauth2"):
        for patch in ({"stringData": {key: "new"}, **noted(SEEN)}, noted({STATUS: None})):
            assert thief.patch(REFRESHER, enrolled, patch) == ""
    for name, (account, key) in FILLED.items():
        path = f"{CONFIG_MAPS}/{name}"
        assert thief.patch(account, path, {"data": {key: "x"}}, dry=True) == ""
        (another,) = {REFRESHER, BROKER} - {account}
        assert "forbidden" in thief.patch(another, path, {"data": {key: "x"}}, dry=True)
    configuration = webhooks.configuration()
    authority, _ = CertificateFactory().new_authority(time.time(), 3600.0)
    found = configuration.read()
    assert found is not None
    configuration.write(found, authority.pem)
    changed = configuration.read()
    assert changed is not None
    assert changed.bundles == (authority.pem, authority.pem)
