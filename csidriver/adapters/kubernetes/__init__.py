"""The Kubernetes API for refresher and webhook, on the raw client of the `kubernetes` package.

Only this folder imports that package. Only these roles use this folder, with `--store kubernetes`.
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
