"""A control plane with the objects of `deploy/`, and a client with the refresher's rights."""

from pathlib import Path

from csidriver.adapters.kubernetes import KubernetesClient, Timeouts, from_kubeconfig
from tests.cluster.controlplane import ControlPlane


class Cluster:
    """The cluster of all tests; `refresher` and `broker` are kubeconfigs of ServiceAccounts."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        plane.install()
        self.refresher = plane.service_account("oauth2-csi", "oauth2-csi-refresher")
        self.broker = plane.service_account("oauth2-csi", "oauth2-csi-broker")

    def client(self, timings: Timeouts | None = None) -> KubernetesClient:
        return KubernetesClient(from_kubeconfig(self.refresher), timings)

    def refresher_flags(self, issuers: Path, spool: Path, identity: str = "one") -> list[str]:
        flags = ["--store=kubernetes", f"--kubeconfig={self.refresher}", "--listen=127.0.0.1:0"]
        return [*flags, f"--issuers={issuers}", f"--spool-dir={spool}", f"--identity={identity}"]

    def reset_namespaces(self, *namespaces: str) -> None:
        """Create these namespaces, and remove the objects of earlier tests from all namespaces."""
        api = self.plane.api
        for namespace in namespaces:
            manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            api("POST", "/api/v1/namespaces", manifest)
        for found in api("GET", "/api/v1/namespaces")["items"]:
            name = found["metadata"]["name"]
            if not name.startswith("kube-"):
                for resource in ("secrets", "configmaps", "events"):
                    api("DELETE", f"/api/v1/namespaces/{name}/{resource}")
                api("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{name}/leases")
