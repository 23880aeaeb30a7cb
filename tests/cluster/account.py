"""A service account of the driver whose token somebody has stolen."""

import json
import subprocess
from typing import Any

from csidriver.core.names import DRIVER_NAMESPACE
from tests.cluster.cluster import Cluster
from tests.refresher.bench import until

Patch = Any  # a merge patch, or a list of JSON patches


def told(policy: str, text: str) -> str:
    return f"ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {text}"


class Account:
    """What a stolen token of a service account can change."""

    def __init__(self, cluster: Cluster, name: str, resource: str, namespace: str = "") -> None:
        self._plane = cluster.plane
        self._kubeconfig = cluster.plane.service_account(DRIVER_NAMESPACE, name)
        self._where = [resource, *([f"--namespace={namespace}"] if namespace else [])]

    def patch(
        self, name: str, patch: Patch, *flags: str, kind: str = "merge"
    ) -> "subprocess.CompletedProcess[str]":
        resource, *where = self._where
        change = ["patch", resource, name, f"--type={kind}", f"--patch={json.dumps(patch)}"]
        return self._plane.try_kubectl(*change, *where, *flags, kubeconfig=self._kubeconfig)

    def wait_until_refused(self, name: str, patch: Patch) -> None:
        """Policies are in force about a second after they were created."""
        until(lambda: "denied request" in self.patch(name, patch, "--dry-run=server").stderr)
