"""What its policy lets the webhook change in its configuration, at a real API server."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from csidriver.core.names import DRIVER_NAMESPACE, WEBHOOK
from csidriver.webhook.x509 import CertificateFactory
from tests.cluster.account import Account, Patch, told
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.webhook_cluster import CONFIGURATION, WebhookCluster
from tests.refresher.bench import until

pytestmark = pytest.mark.tools(*PROGRAMS)
API = "/openapi/v3/apis/admissionregistration.k8s.io/v1"
OTHERS = "rights-beyond-those-of-the-webhook"
HOOKS = "mutatingwebhookconfigurations"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}


@pytest.fixture(scope="module")
def webhook_cluster(cluster: Cluster) -> Iterator[WebhookCluster]:
    """With a second entry, which has a URL, and with an annotation."""
    webhook_cluster = WebhookCluster(cluster)
    webhook_cluster.reset()
    manifest = webhook_cluster.manifest(443)
    other = {**manifest["webhooks"][0], "name": "by-url.oauth2.csi.cern.ch"}
    other |= {"clientConfig": {"url": "https://127.0.0.1:1/mutate"}}
    manifest["webhooks"].append(other)
    manifest["metadata"]["annotations"] = {"mine": "true"}
    webhook_cluster.plane.kubectl("apply", "--filename=-", stdin=json.dumps(manifest))
    yield webhook_cluster
    webhook_cluster.reset()


@pytest.fixture(scope="module")
def webhook(cluster: Cluster, webhook_cluster: WebhookCluster) -> Account:
    del webhook_cluster
    account = Account(cluster, WEBHOOK, HOOKS)
    account.wait_until_refused(WEBHOOK, {"metadata": {"labels": {"mine": "true"}}})
    return account


OF_SECRETS = [
    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["secrets"]}
]
SELECTOR = {"matchLabels": {"a": "b"}}
# Field of an entry: another value of it.
ENTRY: dict[str, Any] = {
    "rules": OF_SECRETS,
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
METADATA: dict[str, Any] = {
    "annotations": {"mine": None},
    "labels": {"mine": "true"},
    "ownerReferences": [OWNER],
    "finalizers": ["a.b/c"],
}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("field", ENTRY)
def test_a_stolen_token_of_the_webhook_does_not_change(
    webhook_cluster: WebhookCluster, webhook: Account, field: str, number: int
) -> None:
    before = webhook_cluster.plane.api("GET", CONFIGURATION)
    change = [{"op": "add", "path": f"/webhooks/{number}/{field}", "value": ENTRY[field]}]
    done = webhook.patch(WEBHOOK, change, kind="json")
    assert told(WEBHOOK, f"the webhook does not change {field}") in done.stderr
    assert webhook_cluster.plane.api("GET", CONFIGURATION) == before


@pytest.mark.parametrize("field", CONNECTIONS)
def test_a_stolen_token_of_the_webhook_sends_nothing_elsewhere(
    webhook: Account, field: str
) -> None:
    number, value = CONNECTIONS[field]
    where = f"/webhooks/{number}/clientConfig/{field}"
    done = webhook.patch(WEBHOOK, [{"op": "add", "path": where, "value": value}], kind="json")
    assert told(WEBHOOK, f"the webhook does not change clientConfig.{field}") in done.stderr


def test_every_field_that_the_api_server_knows_is_tried(cluster: Cluster) -> None:
    schemas = cluster.plane.api("GET", API)["components"]["schemas"]
    known = {
        name: set(schemas[f"io.k8s.api.admissionregistration.v1.{name}"]["properties"])
        for name in ("MutatingWebhook", "WebhookClientConfig", "MutatingWebhookConfiguration")
    }
    assert known == {
        "MutatingWebhook": {"name", "clientConfig", *ENTRY},
        "WebhookClientConfig": {"caBundle", *CONNECTIONS},
        "MutatingWebhookConfiguration": {"apiVersion", "kind", "metadata", "webhooks"},
    }


@pytest.mark.parametrize("field", METADATA)
def test_a_stolen_token_of_the_webhook_changes_no_metadata(webhook: Account, field: str) -> None:
    done = webhook.patch(WEBHOOK, {"metadata": {field: METADATA[field]}})
    assert told(WEBHOOK, "the webhook changes no metadata") in done.stderr


ENTRIES = {
    "renamed": {"op": "replace", "path": "/webhooks/0/name", "value": "x.y.z"},
    "removed": {"op": "remove", "path": "/webhooks/1"},
    "moved": {"op": "move", "from": "/webhooks/1", "path": "/webhooks/0"},
    "all removed": {"op": "remove", "path": "/webhooks"},
}


@pytest.mark.parametrize("change", ENTRIES.values(), ids=ENTRIES.keys())
def test_a_stolen_token_of_the_webhook_leaves_every_entry(webhook: Account, change: Patch) -> None:
    done = webhook.patch(WEBHOOK, [change], kind="json")
    assert told(WEBHOOK, "the webhook adds, removes and renames no entry") in done.stderr


def test_another_configuration_is_refused_by_rights_and_by_the_policy(
    webhook_cluster: WebhookCluster, webhook: Account
) -> None:
    plane = webhook_cluster.plane
    manifest = webhook_cluster.manifest(443)
    manifest["metadata"] = {"name": "of-somebody-else"}
    manifest["webhooks"][0]["failurePolicy"] = "Ignore"
    plane.kubectl("apply", "--filename=-", stdin=json.dumps(manifest))
    authority = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "QQ=="}]
    account = f"--serviceaccount={DRIVER_NAMESPACE}:{WEBHOOK}"
    try:
        done = webhook.patch("of-somebody-else", authority, kind="json")
        assert f'cannot get resource "{HOOKS}"' in done.stderr
        plane.kubectl("create", "clusterrole", OTHERS, "--verb=get,patch", f"--resource={HOOKS}")
        plane.kubectl("create", "clusterrolebinding", OTHERS, f"--clusterrole={OTHERS}", account)
        text = "the webhook changes only the configuration oauth2-csi-webhook"

        def refused() -> bool:
            done = webhook.patch("of-somebody-else", authority, kind="json")
            return told(WEBHOOK, text) in done.stderr

        until(refused)
    finally:
        plane.kubectl(
            "delete", f"clusterrole/{OTHERS}", f"clusterrolebinding/{OTHERS}", "--ignore-not-found"
        )
        plane.kubectl("delete", HOOKS, "of-somebody-else")


def test_the_webhook_changes_its_authorities(
    webhook_cluster: WebhookCluster, webhook: Account
) -> None:
    del webhook
    configuration = webhook_cluster.configuration()
    for _ in range(2):
        authority, _ = CertificateFactory().new_authority(time.time(), 3600.0)
        found = configuration.read()
        assert found is not None
        configuration.write(found, authority.pem)
        changed = configuration.read()
        assert changed is not None
        assert changed.bundles == (authority.pem, authority.pem)


def test_others_may_change_the_configuration(
    webhook_cluster: WebhookCluster, webhook: Account
) -> None:
    del webhook
    webhook_cluster.plane.kubectl("label", HOOKS, WEBHOOK, "mine=true")
    webhook_cluster.plane.kubectl("annotate", HOOKS, WEBHOOK, "mine=false", "--overwrite")
