"""A control plane whose API server asks a webhook about annotated pods, as `deploy/` has it.

Nothing routes Services here, but the API server resolves those of type ExternalName by itself: it
then dials localhost, and verifies the name of the Service as on any cluster.
"""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import urllib3

from csidriver.adapters.kubernetes import (
    KubernetesClient,
    KubernetesStore,
    WebhookConfiguration,
    from_kubeconfig,
)
from csidriver.core.names import DRIVER_NAMESPACE, WEBHOOK
from tests.cluster.cluster import Cluster
from tests.cluster.installation import manifests

CONFIGURATION = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{WEBHOOK}"
_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": WEBHOOK, "namespace": DRIVER_NAMESPACE},
    "spec": {"type": "ExternalName", "externalName": "localhost"},
}

Pod = dict[str, Any]


class WebhookCluster:
    """`register` the webhook at a port, and `unregister` it."""

    def __init__(self, cluster: Cluster) -> None:
        self.plane = cluster.plane
        self.kubeconfig = self.plane.service_account(DRIVER_NAMESPACE, WEBHOOK)
        self._pool = urllib3.PoolManager(ca_certs=str(self.plane.ca), maxsize=8)

    def client(self) -> KubernetesClient:
        """A client with the rights of the webhook."""
        return KubernetesClient(from_kubeconfig(self.kubeconfig))

    def store(self) -> KubernetesStore:
        return KubernetesStore(self.client())

    def configuration(self) -> WebhookConfiguration:
        return WebhookConfiguration(self.client(), WEBHOOK)

    def manifest(self, port: int) -> dict[str, Any]:
        """The configuration of `deploy/`, but for the port of the Service."""
        (manifest,) = manifests("MutatingWebhookConfiguration")
        manifest["webhooks"][0]["clientConfig"]["service"]["port"] = port
        return manifest

    def register(self, port: int, *arguments: str, verb: str = "apply") -> None:
        """Apply Service and configuration."""
        for manifest in (_SERVICE, self.manifest(port)):
            self.plane.kubectl(verb, "--filename=-", *arguments, stdin=json.dumps(manifest))

    def unregister(self) -> None:
        self.plane.api("DELETE", CONFIGURATION)

    def ca_bundle(self) -> str:
        (webhook,) = self.plane.api("GET", CONFIGURATION)["webhooks"]
        return base64.b64decode(webhook["clientConfig"].get("caBundle", "")).decode()

    def reset(self) -> None:
        """Remove configuration and certificate."""
        self.unregister()
        path = f"/api/v1/namespaces/{DRIVER_NAMESPACE}/secrets/{WEBHOOK}-tls"
        self.plane.api("DELETE", path)

    def create_namespace(self, name: str, **labels: str) -> None:
        """A namespace in which pods can be created."""
        metadata = {"name": name, "labels": labels}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.plane.api("POST", "/api/v1/namespaces", namespace)
        # The work of a controller that does not run here.
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self.plane.api("POST", f"/api/v1/namespaces/{name}/serviceaccounts", account)

    def create_pod(
        self, namespace: str, pod: Pod, *, dry: bool = False
    ) -> tuple[int, dict[str, Any]]:
        """Create a pod as administrator; the HTTP status and the answer. Fast, and threads may."""
        query = "?dryRun=All" if dry else ""
        answer = self._pool.request(
            "POST",
            f"{self.plane.server}/api/v1/namespaces/{namespace}/pods{query}",
            body=json.dumps(pod),
            headers={"Authorization": self.plane.authorization},
            timeout=30,
        )
        return answer.status, answer.json()


def pods_of(path: Path) -> list[Pod]:
    """The pods of a file of manifests."""
    return manifests("Pod", path=path)


def as_created_by_controllers(pod: Pod) -> Pod:
    """Without a name of its own, as ReplicaSets, DaemonSets and Jobs create it."""
    made = copy.deepcopy(pod)
    made["metadata"]["generateName"] = f"{made['metadata'].pop('name')}-"
    return made
