"""The Kubernetes API, over connections of the `kubernetes` package, for all roles but the node.

Only this folder imports that package. It is used with `--store kubernetes` only.
"""

from csidriver.adapters.kubernetes.broker_backend import BrokerBackend
from csidriver.adapters.kubernetes.ca_config_map import CaConfigMap
from csidriver.adapters.kubernetes.client import KubernetesClient, Timeouts
from csidriver.adapters.kubernetes.credentials import CredentialSource, from_kubeconfig, from_pod
from csidriver.adapters.kubernetes.lease import LeaseStore
from csidriver.adapters.kubernetes.secrets import KubernetesStore
from csidriver.adapters.kubernetes.webhook_configuration import WebhookConfiguration

__all__ = [
    "BrokerBackend",
    "CaConfigMap",
    "CredentialSource",
    "KubernetesClient",
    "KubernetesStore",
    "LeaseStore",
    "Timeouts",
    "WebhookConfiguration",
    "from_kubeconfig",
    "from_pod",
]
