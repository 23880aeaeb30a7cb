"""A control plane whose API server calls the webhook for annotated pods, as in `deploy/`.

Nothing routes Services here. But the API server resolves a Service of type ExternalName itself: it
connects to localhost, and verifies the name of the Service as on any cluster.
"""

import base64
import copy
import json
from typing import Any

import urllib3

from csidriver.adapters.kubernetes import (
    KubernetesClient,
    KubernetesStore,
    WebhookConfiguration,
    from_kubeconfig,
)
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE, WEBHOOK
from tests.cluster.cluster import Cluster
from tests.cluster.installation import manifests
from tests.core.admission.pods import ENTRY, pod_with
from tests.waiting import until

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CONFIGURATION = f"{CONFIGURATIONS}/{WEBHOOK}"
_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": WEBHOOK, "namespace": DRIVER_NAMESPACE},
    "spec": {"type": "ExternalName", "externalName": "localhost"},
}

Pod = dict[str, Any]


class WebhookCluster:
    """Registers the webhook at a port of this machine."""

    def __init__(self, cluster: Cluster) -> None:
        self.plane = cluster.plane
        self.kubeconfig = self.plane.service_account(DRIVER_NAMESPACE, WEBHOOK)
        self._pool = urllib3.PoolManager(ca_certs=str(self.plane.ca), maxsize=8)

    def store(self) -> KubernetesStore:
        return KubernetesStore(KubernetesClient(from_kubeconfig(self.kubeconfig)))

    def configuration(self) -> WebhookConfiguration:
        return WebhookConfiguration(KubernetesClient(from_kubeconfig(self.kubeconfig)), WEBHOOK)

    def manifest(self, port: int) -> dict[str, Any]:
        """Return the configuration of `deploy/` with another port of the Service."""
        (manifest,) = manifests("MutatingWebhookConfiguration")
        manifest["webhooks"][0]["clientConfig"]["service"]["port"] = port
        return manifest

    def register(self, port: int) -> None:
        self.plane.apply_objects((_SERVICE, self.manifest(port)))

    def ca_bundle(self) -> str:
        (webhook,) = self.plane.api("GET", CONFIGURATION)["webhooks"]
        return base64.b64decode(webhook["clientConfig"].get("caBundle", "")).decode()

    def reset(self) -> None:
        self.plane.api("DELETE", CONFIGURATION)
        self.plane.api("DELETE", f"/api/v1/namespaces/{DRIVER_NAMESPACE}/secrets/{CERTIFICATE}")
        self.plane.install("Secret")

    def create_pod(self, namespace: str, pod: Pod) -> tuple[int, dict[str, Any]]:
        """Try to create a pod as administrator; return HTTP status and body. It is thread-safe."""
        answer = self._pool.request(
            "POST",
            f"{self.plane.server}/api/v1/namespaces/{namespace}/pods?dryRun=All",
            body=json.dumps(pod),
            headers={"Authorization": self.plane.authorization},
            timeout=30,
        )
        return answer.status, answer.json()

    def wait_until_served(self, namespace: str) -> None:
        """Wait until the API server, too, has the configuration with its CAs, from a watch."""

        def is_served() -> bool:
            status, answer = self.create_pod(namespace, as_created_by_controllers(pod_with(ENTRY)))
            return status == 201 and any("csi" in volume for volume in answer["spec"]["volumes"])

        until(is_served, "the API server asks the webhook")


def as_created_by_controllers(pod: Pod) -> Pod:
    """Return the pod with generateName, as ReplicaSets, DaemonSets and Jobs create it."""
    made = copy.deepcopy(pod)
    made["metadata"]["generateName"] = f"{made['metadata'].pop('name')}-"
    return made
