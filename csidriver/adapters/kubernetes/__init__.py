"""The Kubernetes API as the refresher needs it, on the `kubernetes` package's raw client.

Only this folder imports that package, and only a refresher with `--store kubernetes` this folder.
"""

from csidriver.adapters.kubernetes.access import from_kubeconfig, from_pod
from csidriver.adapters.kubernetes.client import Client, Timings
from csidriver.adapters.kubernetes.lease import LeaseRecords
from csidriver.adapters.kubernetes.store import KubernetesStore

__all__ = [
    "Client",
    "KubernetesStore",
    "LeaseRecords",
    "Timings",
    "from_kubeconfig",
    "from_pod",
]
