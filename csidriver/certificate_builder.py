"""Builds the source of the certificate that webhook or broker serves, and of their credentials."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from csidriver.config import BrokerSettings, CommonSettings, WebhookSettings
from csidriver.core.admission.certificates import RotationPolicy
from csidriver.errors import StoreError

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from csidriver.adapters.kubernetes import CredentialSource, KubernetesClient
    from csidriver.webhook.ca_bundle import Configuration
    from csidriver.webhook.certificate_secret import SecretStore
    from csidriver.webhook.certificate_source import Certificates


def serving_certificates(
    common: CommonSettings,
    settings: WebhookSettings | BrokerSettings,
    expiry: "Gauge",
    configuration: "Callable[[KubernetesClient], Configuration]",
    policy: RotationPolicy,
) -> "Certificates":
    """Return a source of certificates whose CA is published in `configuration`.

    Webhook and broker share a Secret with one CA, and one certificate for the names of both.
    """
    from csidriver.adapters.clock import SystemClock
    from csidriver.webhook.ca_bundle import CaBundle
    from csidriver.webhook.certificate_files import FileCertificates
    from csidriver.webhook.certificate_secret import CertificateSecret
    from csidriver.webhook.managed_certificates import ManagedCertificates
    from csidriver.webhook.x509 import CertificateFactory

    clock, factory = SystemClock(), CertificateFactory()
    if settings.files is not None:
        return FileCertificates(settings.files, factory, clock, expiry)
    store, published = _backend(common, configuration)
    secret = CertificateSecret(store, factory, common.driver_namespace, policy)
    bundle = CaBundle(published, factory, policy)
    return ManagedCertificates(
        secret, bundle, factory, clock, expiry, names=settings.names, policy=policy
    )


def _backend(
    common: CommonSettings, configuration: "Callable[[KubernetesClient], Configuration]"
) -> "tuple[SecretStore, Configuration | None]":
    if common.store is not None:
        from csidriver.adapters.directory import DirectoryStore
        from csidriver.webhook.certificate_secret import empty_secret

        folder = DirectoryStore(common.store)
        with suppress(StoreError):
            # No manifests bring it there.
            folder.create_secret(empty_secret(common.driver_namespace))
        return folder, None
    from csidriver.adapters.kubernetes import KubernetesClient, KubernetesStore

    client = KubernetesClient(kubernetes_credentials(common))
    return KubernetesStore(client), configuration(client)


def kubernetes_credentials(common: CommonSettings) -> "CredentialSource":
    from csidriver.adapters.kubernetes import from_kubeconfig, from_pod

    return from_pod(os.environ) if common.kubeconfig is None else from_kubeconfig(common.kubeconfig)
