"""Puts a role together with its adapters; a role's libraries are imported only when it starts."""

import argparse
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from csidriver import config, flags
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.names import REFRESHER, SourceRef
from csidriver.core.refresh.schedule import RequestTimeouts
from csidriver.core.refresh.state import RefreshContext

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from csidriver.adapters.clock import SystemClock
    from csidriver.adapters.directory import DirectoryStore
    from csidriver.adapters.issuer_files import IssuerFiles
    from csidriver.adapters.kubernetes import CredentialSource, KubernetesStore
    from csidriver.config import WebhookSettings
    from csidriver.node.plugin import Store as NodeStore
    from csidriver.refresher.controller import Controller
    from csidriver.refresher.leader_election import LeaderElector, LeaderLock
    from csidriver.refresher.spool_lock import SpoolLock
    from csidriver.webhook.certificate_secret import SecretStore
    from csidriver.webhook.certificate_source import Certificates
    from csidriver.webhook.metrics import WebhookMetrics

log = logging.getLogger(__name__)

# Seconds between two looks whether another process has left our spool.
CLAIM_EVERY = 0.5

Check = Callable[[], list[str]]


@dataclass(frozen=True, slots=True)
class Role:
    """A role ready to run. `alive` and `ready` name what is wrong, nothing if all is well."""

    run: Callable[[threading.Event], None]
    alive: Check
    ready: Check


Builder = Callable[[argparse.Namespace, config.CommonSettings, "CollectorRegistry"], Role]


def node(
    args: argparse.Namespace, common: config.CommonSettings, registry: "CollectorRegistry"
) -> Role:
    """The CSI node plugin."""
    from csidriver.adapters.clock import SystemClock
    from csidriver.adapters.mounts import Mounts
    from csidriver.node.plugin import NodePlugin

    store = _node_store(common)
    plugin = NodePlugin(flags.node_settings(args), store, Mounts(), SystemClock(), registry)
    return Role(plugin.run, plugin.alive, plugin.ready)


def _node_store(common: config.CommonSettings) -> "NodeStore":
    if common.store is not None:
        from csidriver.adapters.directory import DirectoryStore

        return DirectoryStore(common.store)
    from csidriver.adapters.rest import RestStore, in_cluster, kubeconfig

    if common.kubeconfig is not None:
        return RestStore(kubeconfig(common.kubeconfig))
    return RestStore(in_cluster(os.environ))


def refresher(
    args: argparse.Namespace, common: config.CommonSettings, registry: "CollectorRegistry"
) -> Role:
    """The refresher, as soon as no other one works."""
    from csidriver.adapters.clock import SystemClock
    from csidriver.adapters.issuer_files import IssuerFiles
    from csidriver.adapters.oauth import TokenEndpoints
    from csidriver.refresher.controller import Controller
    from csidriver.refresher.effect_interpreter import Interpreter, Ports
    from csidriver.refresher.leader_election import LeaderElector
    from csidriver.refresher.metrics import RefresherMetrics
    from csidriver.refresher.spool import Spool
    from csidriver.refresher.spool_lock import SpoolLock

    wanted, clock, metrics = (
        flags.refresher_settings(args),
        SystemClock(),
        RefresherMetrics(registry),
    )
    issuers = IssuerFiles(wanted.issuers)
    issuers.current()
    claim = SpoolLock(wanted.spool_dir)
    # Whoever has the spool settles what was announced: no two processes can have this name.
    wanted = replace(wanted, identity=f"{wanted.identity}.{claim.folder_id()}")
    store, seat = _backend(common, wanted, clock)
    lease = LeaderElector(seat, wanted.lease, clock, metrics.set_leader)
    world = Ports(
        store=store,
        spool=Spool(wanted.spool_dir),
        token_client=TokenEndpoints(),
        clock=clock,
        metrics=metrics,
        may_send=lease.is_leader,
        deployment=SourceRef(common.driver_namespace, REFRESHER),
    )

    def make() -> Controller:
        rules = partial(_rules, common, wanted, issuers)
        return Controller(store, Interpreter(world), rules, clock, metrics)

    return _leased(lease, claim, make)


def _rules(
    common: config.CommonSettings, wanted: config.RefresherSettings, issuers: "IssuerFiles"
) -> RefreshContext:
    return RefreshContext(
        issuers=issuers.current(),
        holder=wanted.identity,
        timeouts=RequestTimeouts(wanted.http_timeout, wanted.takeover_after),
        driver_namespace=common.driver_namespace,
        tokens_namespace=common.tokens_namespace,
        namespaces=wanted.namespaces,
    )


def _leased(lease: "LeaderElector", claim: "SpoolLock", make: Callable[[], "Controller"]) -> Role:
    """A refresher made anew each time the lease is ours: another one has worked meanwhile."""
    working: list[Controller] = []
    waiting: list[str] = []

    def work(over: threading.Event) -> None:
        while not claim.acquire():
            if not waiting:
                waiting.append("another refresher works with this --spool-dir")
                log.warning("%s; waiting for it", waiting[0])
            if over.wait(CLAIM_EVERY):
                return
        waiting.clear()
        working[:] = [make()]
        try:
            working[0].run(over)
        finally:
            working.clear()
            claim.release()

    return Role(
        run=lambda stop: lease.run(stop, work),
        alive=lambda: [problem for refresher in working[:] for problem in refresher.alive()],
        ready=lambda: [
            *lease.ready(),
            *waiting,
            *(problem for refresher in working[:] for problem in refresher.ready()),
        ],
    )


def webhook(
    args: argparse.Namespace, common: config.CommonSettings, registry: "CollectorRegistry"
) -> Role:
    """The admission webhook."""
    from csidriver.adapters.clock import SystemClock
    from csidriver.adapters.x509 import CertificateFactory
    from csidriver.webhook.certificate_files import FileCertificates
    from csidriver.webhook.https_server import AdmissionServer
    from csidriver.webhook.metrics import WebhookMetrics
    from csidriver.webhook.review_handler import handle_review
    from csidriver.webhook.webhook import Webhook

    wanted, clock, metrics = (
        flags.webhook_settings(args),
        SystemClock(),
        WebhookMetrics(registry),
    )
    certificates: Certificates
    if wanted.files is not None:
        certificates = FileCertificates(wanted.files, CertificateFactory(), clock, metrics)
    else:
        certificates = _self_made(common, wanted, clock, metrics)
    server = AdmissionServer(wanted.listen, certificates.context, handle_review, metrics)
    # On a cluster only there are others to go on meanwhile.
    role = Webhook(certificates, server, drain=5.0 if common.store is None else 0.0)
    return Role(role.run, role.alive, role.ready)


def _self_made(
    common: config.CommonSettings,
    wanted: "WebhookSettings",
    clock: "SystemClock",
    metrics: "WebhookMetrics",
) -> "Certificates":
    from csidriver.adapters.x509 import CertificateFactory
    from csidriver.core.admission.certificates import RotationPolicy
    from csidriver.webhook.ca_bundle import CaBundle
    from csidriver.webhook.certificate_secret import CertificateSecret
    from csidriver.webhook.managed_certificates import ManagedCertificates

    pki, terms = CertificateFactory(), RotationPolicy()
    if common.store is not None:
        from csidriver.adapters.directory import DirectoryStore

        store: SecretStore = DirectoryStore(common.store)
        bundle = CaBundle(None, pki, terms)
    else:
        from csidriver.adapters import kubernetes

        client = kubernetes.KubernetesClient(_access(common))
        store = kubernetes.KubernetesStore(client)
        found = kubernetes.WebhookConfiguration(client, wanted.configuration_name)
        bundle = CaBundle(found, pki, terms)
    shelf = CertificateSecret(store, pki, common.driver_namespace, terms)
    return ManagedCertificates(shelf, bundle, pki, clock, metrics, names=wanted.names, policy=terms)


def _access(common: config.CommonSettings) -> "CredentialSource":
    from csidriver.adapters import kubernetes

    if common.kubeconfig is None:
        return kubernetes.from_pod(os.environ)
    return kubernetes.from_kubeconfig(common.kubeconfig)


def _backend(
    common: config.CommonSettings, wanted: config.RefresherSettings, clock: "SystemClock"
) -> tuple["DirectoryStore | KubernetesStore", "LeaderLock"]:
    places = Namespaces(common.driver_namespace, common.tokens_namespace, wanted.namespaces)
    if common.store is not None:
        from csidriver.adapters.directory import DirectoryStore, FileLock

        return DirectoryStore(common.store, namespaces=places), FileLock(common.store)
    from csidriver.adapters import kubernetes
    from csidriver.refresher.leader_election import LeaseLock

    access = _access(common)
    store = kubernetes.KubernetesStore(kubernetes.KubernetesClient(access), places)
    brief = kubernetes.KubernetesClient(access, kubernetes.Timeouts.within(wanted.lease.renew))
    records = kubernetes.LeaseStore(brief, common.driver_namespace)
    return store, LeaseLock(records, wanted.identity, wanted.lease, clock)
