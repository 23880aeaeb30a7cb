"""Builds each role from its adapters, and imports a role's libraries only when it starts."""

import argparse
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from csidriver import flags, server_flags
from csidriver.certificate_builder import kubernetes_credentials, serving_certificates
from csidriver.config import CommonSettings, RefresherSettings
from csidriver.core.admission.certificates import RotationPolicy
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.names import BROKER_CA, REFRESHER, SourceRef

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from csidriver.adapters.clock import SystemClock
    from csidriver.adapters.directory import DirectoryStore
    from csidriver.adapters.issuer_files import IssuerFiles
    from csidriver.adapters.kubernetes import KubernetesClient, KubernetesStore
    from csidriver.core.refresh.state import RefreshContext
    from csidriver.refresher.leader_election import LeaderLock
    from csidriver.webhook.ca_bundle import Configuration

# Seconds for which the webhook serves on after a stop, until no client is sent to it any more.
DRAIN = 5.0
# Seconds until every node has a new CA of the broker: kubelet takes a minute to mount it, and a
# plugin reads it at its next connection.
CA_DELAY = 600.0
# Seconds in which a read that a node waits for is of use.
READ_SECONDS = 5.0


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

    settings, clock = flags.node_settings(args), SystemClock()
    if common.store is not None:
        from csidriver.adapters.directory import DirectoryStore

        return NodePlugin(settings, DirectoryStore(common.store), Mounts(), clock, registry)
    from csidriver.node.companions.broker_address import BrokerAddress
    from csidriver.node.companions.broker_client import BrokerClient

    host, port = flags.broker_of_node(args)
    address = BrokerAddress(host, port, args.broker_ca, args.broker_token)
    return NodePlugin(settings, BrokerClient(address, clock), Mounts(), clock, registry)


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
    from csidriver.refresher.spool import Spool, SpoolLock

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
        from csidriver.adapters.directory import DirectoryStore, FolderLock

        return DirectoryStore(common.store, namespaces=namespaces), FolderLock(common.store)
    from csidriver.adapters.kubernetes import (
        KubernetesClient,
        KubernetesStore,
        LeaseStore,
        Timeouts,
    )
    from csidriver.refresher.leader_election import LeaseLock

    credentials = kubernetes_credentials(common)
    store = KubernetesStore(KubernetesClient(credentials), namespaces)
    # A renewal is useless if it takes longer than the time between two renewals.
    brief = KubernetesClient(credentials, Timeouts.within(settings.lease.renew))
    leases = LeaseStore(brief, common.driver_namespace)
    return store, LeaseLock(leases, settings.identity, settings.lease, clock)


def webhook(
    args: argparse.Namespace, common: CommonSettings, registry: "CollectorRegistry"
) -> Role:
    from csidriver.webhook.https_server import AdmissionServer
    from csidriver.webhook.metrics import WebhookMetrics
    from csidriver.webhook.review_handler import handle_review
    from csidriver.webhook.webhook import Webhook

    settings = server_flags.webhook_settings(args)
    metrics = WebhookMetrics(registry)

    def configuration(client: "KubernetesClient") -> "Configuration":
        from csidriver.adapters.kubernetes import WebhookConfiguration

        return WebhookConfiguration(client, settings.configuration_name)

    certificates = serving_certificates(
        common, settings, metrics.expiry, configuration, RotationPolicy()
    )
    server = AdmissionServer(settings.listen, certificates.context, handle_review, metrics)
    # Only on a cluster do other replicas take over the requests.
    return Webhook(certificates, server, drain=DRAIN if common.store is None else 0.0)


def broker(args: argparse.Namespace, common: CommonSettings, registry: "CollectorRegistry") -> Role:
    settings = server_flags.broker_settings(args)
    from csidriver.adapters.kubernetes import BrokerBackend, CaConfigMap, KubernetesClient, Timeouts
    from csidriver.broker.authorizer import Authorizer
    from csidriver.broker.broker import Broker
    from csidriver.broker.companions import Companions
    from csidriver.broker.metrics import BrokerMetrics
    from csidriver.broker.stream_server import StreamServer

    def authorities(client: KubernetesClient) -> CaConfigMap:
        return CaConfigMap(client, common.driver_namespace, BROKER_CA)

    metrics = BrokerMetrics(registry)
    policy = RotationPolicy(propagation_delay=CA_DELAY)
    certificates = serving_certificates(common, settings, metrics.expiry, authorities, policy)
    credentials = kubernetes_credentials(common)
    namespaces = Namespaces(common.driver_namespace, common.tokens_namespace, settings.namespaces)
    # A node waits for the answers.
    brief = KubernetesClient(credentials, Timeouts.within(READ_SECONDS))
    authorizer = Authorizer(BrokerBackend(brief, namespaces), settings.account)
    store = BrokerBackend(KubernetesClient(credentials), namespaces)
    companions = Companions(store)
    server = StreamServer(settings.listen, certificates, authorizer, companions, metrics)
    return Broker(certificates, companions, server)
