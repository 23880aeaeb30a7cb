"""What a MutatingWebhookConfiguration may hold; what a real one does is in tests/cluster."""

import base64
from typing import Any

import pytest

from csidriver.adapters.kubernetes import KubernetesClient, WebhookConfiguration
from tests.adapters.kubernetes.scripted import Says, Scripted

PATH = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/ours"


@pytest.fixture
def ours(client: KubernetesClient) -> WebhookConfiguration:
    return WebhookConfiguration(client, "ours")


def configured(*bundles: Any) -> dict[str, Any]:
    webhooks = [
        {"name": f"w{number}", "clientConfig": {"url": "https://x"} | given, "timeoutSeconds": 5}
        for number, given in enumerate({"caBundle": b} if b is not None else {} for b in bundles)
    ]
    return {"metadata": {"resourceVersion": "7"}, "webhooks": webhooks}


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.parametrize("bundle", ["no base64!", encoded(b"\xff"), 7])
def test_a_bundle_that_is_no_text_counts_as_none(
    api: Scripted, ours: WebhookConfiguration, bundle: Any
) -> None:
    api.answering = lambda _: Says(configured(bundle, encoded(b"other")))
    found = ours.read()
    assert found is not None
    assert (found.bundles, found.version) == (("", "other"), "7")
    assert api.asked[0].path == PATH


def test_a_write_changes_all_bundles_and_nothing_else_at_one_version(
    api: Scripted, ours: WebhookConfiguration
) -> None:
    api.answering = lambda _: Says(configured(None, encoded(b"old")))
    found = ours.read()
    assert found is not None
    ours.write(found, "new")
    asked = api.asked[1]
    assert (asked.method, asked.path) == ("PATCH", PATH)
    assert asked.headers["Content-Type"] == "application/merge-patch+json"
    assert asked.body == configured(encoded(b"new"), encoded(b"new"))
