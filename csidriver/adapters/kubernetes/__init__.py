"""The Kubernetes API as refresher and webhook need it, on the `kubernetes` package's raw client.

Only this folder imports that package, and only these roles with `--store kubernetes` this folder.
"""

from csidriver.adapters.kubernetes.client import KubernetesClient, Timeouts
from csidriver.adapters.kubernetes.credentials import CredentialSource, from_kubeconfig, from_pod
from csidriver.adapters.kubernetes.lease import LeaseStore
from csidriver.adapters.kubernetes.secrets import KubernetesStore
from csidriver.adapters.kubernetes.webhook_configuration import WebhookConfiguration

__all__ = [
    "CredentialSource",
    "KubernetesClient",
    "KubernetesStore",
    "LeaseStore",
    "Timeouts",
    "WebhookConfiguration",
    "from_kubeconfig",
    "from_pod",
]
