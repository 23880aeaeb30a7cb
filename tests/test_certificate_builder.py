"""Webhook and broker share one CA and one certificate, and each publishes the CA to its clients."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from csidriver.adapters.directory import DirectoryStore
from csidriver.broker.metrics import BrokerMetrics
from csidriver.certificate_builder import serving_certificates
from csidriver.config import BrokerSettings, CommonSettings
from csidriver.core.admission.certificates import RotationPolicy
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE, TOKENS_NAMESPACE
from csidriver.webhook.ca_bundle import Configuration
from csidriver.webhook.managed_certificates import ManagedCertificates


def no_configuration(_: object) -> Configuration:
    raise AssertionError("there is no cluster")


def test_with_a_folder_the_certificate_is_kept_there(tmp_path: Path) -> None:
    metrics = BrokerMetrics(CollectorRegistry())
    address, names = ("127.0.0.1", 0), (DRIVER_NAMESPACE, TOKENS_NAMESPACE)
    common = CommonSettings(tmp_path, None, address, address, "info", "json", *names)
    broker = BrokerSettings(address, frozenset({"broker.ns.svc"}), None, (), "ns:node")
    policy = RotationPolicy(propagation_delay=600.0)
    made = serving_certificates(common, broker, metrics.expiry, no_configuration, policy)
    assert isinstance(made, ManagedCertificates)
    while not made.reconcile():
        pass
    stored = DirectoryStore(tmp_path).get_secret(DRIVER_NAMESPACE, CERTIFICATE)
    assert stored is not None
    chain, key = made.pair() or ("", None)
    assert (stored.data["tls.crt"].reveal(), stored.data["tls.key"]) == (chain, key)
