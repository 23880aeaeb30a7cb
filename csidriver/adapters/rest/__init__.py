"""The Kubernetes API as the node role needs it, on `urllib3`: read ConfigMaps, follow Secrets."""

from csidriver.adapters.rest.api import Timings
from csidriver.adapters.rest.credentials import Credentials, in_cluster
from csidriver.adapters.rest.kubeconfig import kubeconfig
from csidriver.adapters.rest.store import RestStore

__all__ = ["Credentials", "RestStore", "Timings", "in_cluster", "kubeconfig"]
