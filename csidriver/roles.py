"""Builds each role from its adapters, and imports a role's libraries only when it starts."""

import argparse
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from csidriver import flags
from csidriver.config import CommonSettings, RefresherSettings, WebhookSettings
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.names import REFRESHER, SourceRef
from csidriver.errors import StoreError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from csidriver.adapters.clock import SystemClock
    from csidriver.adapters.directory import DirectoryStore
    from csidriver.adapters.issuer_files import IssuerFiles
    from csidriver.adapters.kubernetes import CredentialSource, KubernetesStore
    from csidriver.core.refresh.state import RefreshContext
    from csidriver.node.plugin import NodeStore
    from csidriver.refresher.leader_election import LeaderLock
    from csidriver.webhook.certificate_secret import SecretStore
    from csidriver.webhook.certificate_source import Certificates
    from csidriver.webhook.metrics import WebhookMetrics
    from csidriver.webhook.x509 import CertificateFactory

# Seconds for which the webhook serves on after a stop, until no client is sent to it any more.
DRAIN = 5.0


class Role(Protocol):
    """A role that is ready to run."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""

    def alive(self) -> list[str]:
        """Return problems that a restart may solve."""

    def ready(self) -> list[str]:
        """Return problems that keep the role from doing its work."""


Builder = Callable[[argparse.Namespace, CommonSettings, "CollectorRegistry"], Role]


def node(args: argparse.Namespace, common: CommonSettings, registry: "CollectorRegistry") -> Role:
    from csidriver.adapters.clock import SystemClock
    from csidriver.adapters.mounts import Mounts
    from csidriver.node.plugin import NodePlugin

    settings = flags.node_settings(args)
    return NodePlugin(settings, _node_store(common), Mounts(), SystemClock(), registry)


def _node_store(common: CommonSettings) -> "NodeStore":
    if common.store is not None:
        from csidriver.adapters.directory import DirectoryStore

        return DirectoryStore(common.store)
    from csidriver.adapters.rest import RestStore, in_cluster, kubeconfig

    if common.kubeconfig is not None:
        return RestStore(kubeconfig(common.kubeconfig))
    return RestStore(in_cluster(os.environ))


def refresher(
    args: argparse.Namespace, common: CommonSettings, registry: "CollectorRegistry"
) -> Role:
    from csidriver.adapters.clock import SystemClock
    from csidriver.adapters.issuer_files import IssuerFiles
    from csidriver.adapters.oauth import TokenEndpoints
    from csidriver.refresher.controller import Controller
    from csidriver.refresher.effect_interpreter import Interpreter
    from csidriver.refresher.leader_election import LeaderElector
    from csidriver.refresher.metrics import RefresherMetrics
    from csidriver.refresher.ports import Ports
    from csidriver.refresher.refresher import Refresher
    from csidriver.refresher.spool import Spool
    from csidriver.refresher.spool_lock import SpoolLock

    settings = flags.refresher_settings(args)
    clock, metrics = SystemClock(), RefresherMetrics(registry)
    issuers = IssuerFiles(settings.issuers)
    issuers.current()
    spool_lock = SpoolLock(settings.spool_dir)
    # Unique, whatever the flags say: a process recovers intents of its identity from its spool.
    settings = replace(settings, identity=f"{settings.identity}.{spool_lock.folder_id()}")
    store, leader_lock = _refresher_backend(common, settings, clock)
    elector = LeaderElector(leader_lock, settings.lease, clock, metrics.leader.set)
    ports = Ports(
        store=store,
        spool=Spool(settings.spool_dir),
        token_client=TokenEndpoints(),
        clock=clock,
        metrics=metrics,
        may_send=elector.is_leader,
        deployment=SourceRef(common.driver_namespace, REFRESHER),
    )

    context = partial(_refresh_context, common, settings, issuers)

    def new_controller() -> Controller:
        return Controller(store, Interpreter(ports), context, clock, metrics)

    return Refresher(elector, spool_lock, ports, context, new_controller)


def _refresh_context(
    common: CommonSettings, settings: RefresherSettings, issuers: "IssuerFiles"
) -> "RefreshContext":
    from csidriver.core.refresh.schedule import RequestTimeouts
    from csidriver.core.refresh.state import RefreshContext

    return RefreshContext(
        issuers=issuers.current(),
        holder=settings.identity,
        timeouts=RequestTimeouts(settings.http_timeout, settings.takeover_after),
        driver_namespace=common.driver_namespace,
        tokens_namespace=common.tokens_namespace,
        namespaces=settings.namespaces,
        tokens_per_namespace=settings.tokens_per_namespace,
    )


def _refresher_backend(
    common: CommonSettings, settings: RefresherSettings, clock: "SystemClock"
) -> tuple["DirectoryStore | KubernetesStore", "LeaderLock"]:
    namespaces = Namespaces(common.driver_namespace, common.tokens_namespace, settings.namespaces)
    if common.store is not None:
        from csidriver.adapters.directory import DirectoryStore, FileLock

        return DirectoryStore(common.store, namespaces=namespaces), FileLock(common.store)
    from csidriver.adapters.kubernetes import (
        KubernetesClient,
        KubernetesStore,
        LeaseStore,
        Timeouts,
    )
    from csidriver.refresher.leader_election import LeaseLock

    credentials = _credentials(common)
    store = KubernetesStore(KubernetesClient(credentials), namespaces)
    # A renewal is useless if it takes longer than the time between two renewals.
    brief = KubernetesClient(credentials, Timeouts.within(settings.lease.renew))
    leases = LeaseStore(brief, common.driver_namespace)
    return store, LeaseLock(leases, settings.identity, settings.lease, clock)


def webhook(
    args: argparse.Namespace, common: CommonSettings, registry: "CollectorRegistry"
) -> Role:
    from csidriver.adapters.clock import SystemClock
    from csidriver.webhook.certificate_files import FileCertificates
    from csidriver.webhook.https_server import AdmissionServer
    from csidriver.webhook.metrics import WebhookMetrics
    from csidriver.webhook.review_handler import handle_review
    from csidriver.webhook.webhook import Webhook
    from csidriver.webhook.x509 import CertificateFactory

    settings = flags.webhook_settings(args)
    clock, factory, metrics = SystemClock(), CertificateFactory(), WebhookMetrics(registry)
    certificates: Certificates
    if settings.files is not None:
        certificates = FileCertificates(settings.files, factory, clock, metrics)
    else:
        certificates = _managed_certificates(common, settings, factory, clock, metrics)
    server = AdmissionServer(settings.listen, certificates.context, handle_review, metrics)
    # Only on a cluster do other replicas take over the requests.
    return Webhook(certificates, server, drain=DRAIN if common.store is None else 0.0)


def _managed_certificates(
    common: CommonSettings,
    settings: WebhookSettings,
    factory: "CertificateFactory",
    clock: "SystemClock",
    metrics: "WebhookMetrics",
) -> "Certificates":
    from csidriver.core.admission.certificates import RotationPolicy
    from csidriver.webhook.ca_bundle import CaBundle
    from csidriver.webhook.certificate_secret import CertificateSecret, empty_secret
    from csidriver.webhook.managed_certificates import ManagedCertificates

    policy = RotationPolicy()
    if common.store is not None:
        from csidriver.adapters.directory import DirectoryStore

        store: SecretStore = (folder := DirectoryStore(common.store))
        with suppress(StoreError):
            # No manifests bring it there.
            folder.create_secret(empty_secret(common.driver_namespace))
        bundle = CaBundle(None, factory, policy)
    else:
        from csidriver.adapters.kubernetes import (
            KubernetesClient,
            KubernetesStore,
            WebhookConfiguration,
        )

        client = KubernetesClient(_credentials(common))
        store = KubernetesStore(client)
        configuration = WebhookConfiguration(client, settings.configuration_name)
        bundle = CaBundle(configuration, factory, policy)
    secret = CertificateSecret(store, factory, common.driver_namespace, policy)
    return ManagedCertificates(
        secret, bundle, factory, clock, metrics, names=settings.names, policy=policy
    )


def _credentials(common: CommonSettings) -> "CredentialSource":
    from csidriver.adapters.kubernetes import from_kubeconfig, from_pod

    return from_pod(os.environ) if common.kubeconfig is None else from_kubeconfig(common.kubeconfig)
