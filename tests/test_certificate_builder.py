"""Webhook and broker share one CA and one certificate, and each publishes the CA to its clients."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from csidriver.adapters.directory import DirectoryStore
from csidriver.broker.metrics import BrokerMetrics
from csidriver.certificate_builder import kubernetes_credentials, serving_certificates
from csidriver.config import BrokerSettings, CertificateFiles, CommonSettings
from csidriver.core.admission.certificates import RotationPolicy
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE, TOKENS_NAMESPACE
from csidriver.errors import InvalidSettings
from csidriver.webhook.ca_bundle import Configuration
from csidriver.webhook.managed_certificates import ManagedCertificates


def common(store: Path | None) -> CommonSettings:
    address = ("127.0.0.1", 0)
    names = (DRIVER_NAMESPACE, TOKENS_NAMESPACE)
    return CommonSettings(store, None, address, address, "info", "json", *names)


def settings(files: CertificateFiles | None = None) -> BrokerSettings:
    return BrokerSettings(("127.0.0.1", 0), frozenset({"broker.ns.svc"}), files, (), "ns:node")


def no_configuration(_: object) -> Configuration:
    raise AssertionError("there is no cluster")


def test_with_a_folder_the_certificate_is_kept_there(tmp_path: Path) -> None:
    metrics = BrokerMetrics(CollectorRegistry())
    policy = RotationPolicy(propagation_delay=600.0)
    made = serving_certificates(
        common(tmp_path), settings(), metrics.expiry, no_configuration, policy
    )
    assert isinstance(made, ManagedCertificates)
    while not made.reconcile():
        pass
    stored = DirectoryStore(tmp_path).get_secret(DRIVER_NAMESPACE, CERTIFICATE)
    assert stored is not None
    chain, key = made.pair() or ("", None)
    assert (stored.data["tls.crt"].reveal(), stored.data["tls.key"]) == (chain, key)


def test_files_need_no_backend(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path / "c", tmp_path / "k")
    metrics = BrokerMetrics(CollectorRegistry())
    given = serving_certificates(
        common(None), settings(files), metrics.expiry, no_configuration, RotationPolicy()
    )
    assert given.pair() is None
    assert given.problems() != []


def test_credentials_are_those_of_the_pod() -> None:
    with pytest.raises(InvalidSettings, match="KUBERNETES_SERVICE_HOST"):
        kubernetes_credentials(common(None))
