"""Certificates and caBundle over time, against a real API server; replicas run in this process."""

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Self

import pytest

from csidriver.adapters.kubernetes import KubernetesClient, KubernetesStore, WebhookConfiguration
from csidriver.core.admission.certificates import RotationPolicy
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE, WEBHOOK
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreConflict
from csidriver.webhook.review_handler import ReviewResponse, error_response
from csidriver.webhook.x509 import CertificateFactory
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import ControlPlane
from tests.cluster.webhook_cluster import (
    CONFIGURATION,
    Pod,
    WebhookCluster,
    as_created_by_controllers,
)
from tests.core.admission.pods import ENTRY, as_mirror, pod_with
from tests.refresher.bench import until
from tests.webhook.replica import Replica, ReplicaOptions
from tests.webhook.service_proxy import ServiceProxy

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

NAMESPACE = "webhook-certificates"
ANNOTATED = as_created_by_controllers(pod_with(ENTRY))
PLAIN = as_created_by_controllers(pod_with(ENTRY))
del PLAIN["metadata"]["annotations"]
# Everything is renewed all the time: each certificate as soon as it is a second old, its authority
# with it every three; nobody goes over to another authority before it was published for a second.
HOUR = 3600.0
RESTLESS = RotationPolicy(
    authority_lifetime=HOUR,
    authority_lead=HOUR - 3.0,
    serving_lifetime=HOUR / 2,
    serving_lead=HOUR / 2 - 1.0,
    propagation_delay=1.0,
    unknown_ca_ttl=3.0,
    poll_interval=0.1,
)


@pytest.fixture(scope="module")
def of_module(cluster: Cluster) -> WebhookCluster:
    webhook_cluster = WebhookCluster(cluster)
    webhook_cluster.create_namespace(NAMESPACE)
    return webhook_cluster


@pytest.fixture
def webhook_cluster(of_module: WebhookCluster) -> Iterator[WebhookCluster]:
    """Without configuration and certificate, before and after."""
    of_module.reset()
    yield of_module
    of_module.reset()


@contextlib.contextmanager
def serving(
    webhook_cluster: WebhookCluster, given: ReplicaOptions | None = None
) -> Iterator[Replica]:
    """One replica, registered and ready."""
    with contextlib.closing(Stage(webhook_cluster)) as stage:
        yield stage.start(given)


class Stage:
    """Replicas behind one Service, which is registered."""

    def __init__(self, webhook_cluster: WebhookCluster) -> None:
        self.front = ServiceProxy()
        self._webhook_cluster = webhook_cluster
        self._replicas: list[Replica] = []
        webhook_cluster.register(self.front.port)

    def start(self, given: ReplicaOptions | None = None) -> Replica:
        replica = Replica(
            self._webhook_cluster.store(), self._webhook_cluster.configuration(), given
        )
        replica.start()
        self._replicas.append(replica)
        until(lambda: replica.role.ready() == [], "ready")
        self.front.ports = [*self.front.ports, replica.port]
        return replica

    def stop(self, replica: Replica) -> None:
        """As Kubernetes does: it is told to end, and then gets no more connections."""
        self.front.ports = [port for port in self.front.ports if port != replica.port]
        replica.stop()
        self._replicas.remove(replica)

    def close(self) -> None:
        for replica in self._replicas:
            replica.stop()
        self.front.close()


def admitted(webhook_cluster: WebhookCluster, pod: Pod = ANNOTATED) -> dict[str, Any]:
    status, answer = webhook_cluster.create_pod(NAMESPACE, pod, dry=True)
    assert status == 201, answer
    spec: dict[str, Any] = answer["spec"]
    return spec


def test_only_annotated_pods_depend_on_the_webhook(webhook_cluster: WebhookCluster) -> None:
    with serving(webhook_cluster):
        webhook_cluster.wait_until_served(NAMESPACE)
    assert admitted(webhook_cluster, PLAIN)
    done = webhook_cluster.plane.try_kubectl(
        "create", "--filename=-", f"--namespace={NAMESPACE}", stdin=json.dumps(ANNOTATED)
    )
    assert done.returncode != 0
    assert 'failed calling webhook "to-inject.oauth2.csi.cern.ch"' in done.stderr


def test_the_mirror_of_a_static_pod_does_not_depend_on_the_webhook(
    webhook_cluster: WebhookCluster,
) -> None:
    mirror = as_mirror(as_created_by_controllers(pod_with(ENTRY)))
    with serving(webhook_cluster):
        webhook_cluster.wait_until_served(NAMESPACE)
        done = webhook_cluster.plane.try_kubectl(
            "create", "--filename=-", f"--namespace={NAMESPACE}", stdin=json.dumps(mirror)
        )
        assert (done.returncode, done.stderr) == (0, ""), "the webhook would warn"
    status, _ = webhook_cluster.create_pod(NAMESPACE, ANNOTATED, dry=True)
    assert status == 500
    assert "volumes" not in admitted(webhook_cluster, mirror)


def too_old(_: bytes) -> ReviewResponse:
    return error_response(HTTPStatus.BAD_REQUEST, "this is why")


def trusts_another(webhook_cluster: WebhookCluster, port: int) -> None:
    webhook_cluster.register(port)
    authority, _ = CertificateFactory().new_authority(time.time(), HOUR)
    value = base64.b64encode(authority.pem.encode()).decode()
    body = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": value}]
    webhook_cluster.plane.api("PATCH", CONFIGURATION, body, "application/json-patch+json")


@pytest.mark.parametrize(
    ("given", "spoil", "text"),
    [
        pytest.param(
            ReplicaOptions(handler=too_old), None, "oauth2-csi webhook: this is why", id="refused"
        ),
        pytest.param(
            ReplicaOptions(names=frozenset({"another.svc"})),
            None,
            "x509: certificate is valid for another.svc, not oauth2-csi-webhook.oauth2-csi.svc",
            id="name",
        ),
        pytest.param(
            ReplicaOptions(policy=RotationPolicy(poll_interval=3600.0)),
            trusts_another,
            "x509: certificate signed by unknown authority",
            id="authority",
        ),
    ],
)
def test_users_see_why_the_webhook_could_not_be_asked(
    webhook_cluster: WebhookCluster,
    given: ReplicaOptions,
    spoil: Callable[[WebhookCluster, int], None] | None,
    text: str,
) -> None:
    with contextlib.closing(Stage(webhook_cluster)) as stage:
        stage.start(given)
        if spoil is not None:
            spoil(webhook_cluster, stage.front.port)

        def told() -> str:
            return str(
                webhook_cluster.create_pod(NAMESPACE, ANNOTATED, dry=True)[1].get("message", "")
            )

        assert "failed calling webhook" in until(told)
        until(lambda: text in told(), text)


def applied_again(webhook_cluster: WebhookCluster, port: int) -> None:
    webhook_cluster.register(port)


def applied_by_the_server(webhook_cluster: WebhookCluster, port: int) -> None:
    webhook_cluster.register(port, "--server-side", "--force-conflicts")


@pytest.mark.parametrize("change", [applied_again, applied_by_the_server])
def test_applying_the_manifest_again_takes_nothing_away(
    webhook_cluster: WebhookCluster, change: Callable[[WebhookCluster, int], None]
) -> None:
    with contextlib.closing(Stage(webhook_cluster)) as stage:
        stage.start(ReplicaOptions(policy=RotationPolicy(poll_interval=3600.0)))
        before = webhook_cluster.ca_bundle()
        assert before
        change(webhook_cluster, stage.front.port)
        assert webhook_cluster.ca_bundle() == before
        webhook_cluster.wait_until_served(NAMESPACE)


def replaced(webhook_cluster: WebhookCluster, port: int) -> None:
    webhook_cluster.register(port, verb="replace")


def deleted_and_made_again(webhook_cluster: WebhookCluster, port: int) -> None:
    webhook_cluster.unregister()
    webhook_cluster.register(port)


def spoilt(webhook_cluster: WebhookCluster, port: int) -> None:
    del port
    body = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]
    webhook_cluster.plane.api("PATCH", CONFIGURATION, body, "application/json-patch+json")


@pytest.mark.parametrize("change", [replaced, deleted_and_made_again, spoilt])
def test_a_bundle_that_is_lost_comes_back(
    webhook_cluster: WebhookCluster, change: Callable[[WebhookCluster, int], None]
) -> None:
    with contextlib.closing(Stage(webhook_cluster)) as stage:
        stage.start()
        before = webhook_cluster.ca_bundle()
        change(webhook_cluster, stage.front.port)
        assert until(webhook_cluster.ca_bundle) == before
        webhook_cluster.wait_until_served(NAMESPACE)


def test_nothing_else_of_the_configuration_is_touched(webhook_cluster: WebhookCluster) -> None:
    webhook_cluster.register(443)
    before = webhook_cluster.plane.api("GET", CONFIGURATION)["webhooks"]
    configuration = webhook_cluster.configuration()
    found = configuration.read()
    assert found is not None
    authority, _ = CertificateFactory().new_authority(time.time(), HOUR)
    configuration.write(found, authority.pem)
    stored = webhook_cluster.plane.api("GET", CONFIGURATION)
    (webhook,) = stored["webhooks"]
    assert webhook["clientConfig"].pop("caBundle")
    assert [webhook] == before
    (ours,) = [
        entry["fieldsV1"]
        for entry in stored["metadata"]["managedFields"]
        if entry["manager"] == "oauth2-csi"
    ]
    (key,) = [key for key in ours["f:webhooks"] if key != "."]
    assert set(ours["f:webhooks"][key]["f:clientConfig"]) == {"f:caBundle"}


def test_a_write_at_an_old_version_changes_nothing(webhook_cluster: WebhookCluster) -> None:
    webhook_cluster.register(443)
    configuration = webhook_cluster.configuration()
    found = configuration.read()
    assert found is not None
    webhook_cluster.register(444)
    authority, _ = CertificateFactory().new_authority(time.time(), HOUR)
    with pytest.raises(StoreConflict):
        configuration.write(found, authority.pem)
    assert webhook_cluster.ca_bundle() == ""


def test_a_missing_configuration_is_told_and_does_not_stop_certificates(
    webhook_cluster: WebhookCluster,
) -> None:
    replica = Replica(webhook_cluster.store(), webhook_cluster.configuration())
    replica.start()
    try:
        until(lambda: replica.certificates.context() is not None)
        (problem,) = until(replica.role.ready)
        assert WEBHOOK in problem
    finally:
        replica.stop()


def test_replicas_that_start_together_agree(webhook_cluster: WebhookCluster) -> None:
    stores = [webhook_cluster.store() for _ in range(4)]
    webhook_cluster.register(443)
    replicas = [Replica(store, webhook_cluster.configuration()) for store in stores]
    for replica in replicas:
        replica.start()
    try:
        until(lambda: all(replica.role.ready() == [] for replica in replicas))
        (trusted,) = CertificateFactory().certificates(webhook_cluster.ca_bundle())
        stored = stores[0].get_secret(DRIVER_NAMESPACE, CERTIFICATE)
        assert stored is not None
        (served,) = CertificateFactory().certificates(stored.data["tls.crt"].reveal(), [trusted])
        assert served.issuer == trusted.id
        expiries = {
            replica.registry.get_sample_value(
                "oauth2_csi_webhook_certificate_expiry_timestamp_seconds"
            )
            for replica in replicas
        }
        assert expiries == {served.expires}
    finally:
        for replica in replicas:
            replica.stop()


class Stream:
    """Pods created without a pause by several threads, and what was refused."""

    def __init__(self, webhook_cluster: WebhookCluster) -> None:
        self.refusals: list[Any] = []
        self.created = 0
        self._webhook_cluster = webhook_cluster
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(3)

    def __enter__(self) -> Self:
        self._running = [self._pool.submit(self._create) for _ in range(3)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for done in self._running:
            done.result()

    def _create(self) -> None:
        while not self._stop.is_set():
            status, answer = self._webhook_cluster.create_pod(NAMESPACE, ANNOTATED, dry=True)
            served = status == 201 and any("csi" in v for v in answer["spec"]["volumes"])
            if not served:
                self.refusals.append((status, answer))
            self.created += 1


def test_rotation_fails_no_pod_of_a_stream(webhook_cluster: WebhookCluster) -> None:
    """Two replicas, and a third that takes the place of the first, renew each other's all."""
    given = ReplicaOptions(policy=RESTLESS)
    with contextlib.closing(Stage(webhook_cluster)) as stage:
        first = stage.start(replace(given, drain=2.0))
        stage.start(given)
        authorities: set[str] = set()
        certificates: set[str] = set()
        store = webhook_cluster.store()

        def seen(count: int) -> bool:
            authorities.update(
                one.id for one in CertificateFactory().certificates(webhook_cluster.ca_bundle())
            )
            stored = store.get_secret(DRIVER_NAMESPACE, CERTIFICATE)
            assert stored is not None
            certificates.update(
                one.id for one in CertificateFactory().certificates(stored.data["tls.crt"].reveal())
            )
            return len(authorities) >= count

        with Stream(webhook_cluster) as stream:
            until(lambda: seen(3), timeout=60)
            stage.start(given)
            stage.stop(first)
            until(lambda: seen(5), timeout=60)
        assert [str(r[1].get("message")) for r in stream.refusals] == []
        assert stream.created > 50
        assert len(certificates) >= 8


def test_a_deleted_certificate_that_is_applied_again_is_made_anew_without_a_failed_pod(
    webhook_cluster: WebhookCluster,
) -> None:
    terms = replace(RESTLESS, authority_lead=1.0, serving_lead=1.0)
    with contextlib.closing(Stage(webhook_cluster)) as stage:
        stage.start(ReplicaOptions(policy=terms))
        stage.start(ReplicaOptions(policy=terms))
        (before,) = CertificateFactory().certificates(webhook_cluster.ca_bundle())
        with Stream(webhook_cluster) as stream:
            webhook_cluster.remove_certificate()
            webhook_cluster.plane.install("Secret")

            def only_the_new_one() -> bool:
                trusted = {
                    one.id for one in CertificateFactory().certificates(webhook_cluster.ca_bundle())
                }
                return len(trusted) == 1 and before.id not in trusted

            until(only_the_new_one, timeout=30)
        assert [str(r[1].get("message")) for r in stream.refusals] == []
        assert stream.created > 10


def test_a_damaged_certificate_is_made_anew_without_a_failed_pod(
    webhook_cluster: WebhookCluster,
) -> None:
    with contextlib.closing(Stage(webhook_cluster)) as stage:
        stage.start(ReplicaOptions(policy=replace(RESTLESS, authority_lead=1.0, serving_lead=1.0)))
        store = webhook_cluster.store()
        with Stream(webhook_cluster) as stream:
            found = store.get_secret(DRIVER_NAMESPACE, CERTIFICATE)
            assert found is not None
            nonsense = SecretPatch(data={"ca.key": Sensitive("nonsense")})
            store.patch_secret(found, nonsense)

            def repaired() -> bool:
                now = store.get_secret(DRIVER_NAMESPACE, CERTIFICATE)
                return now is not None and now.data["tls.crt"] != found.data["tls.crt"]

            until(repaired)
            until(
                lambda: len(CertificateFactory().certificates(webhook_cluster.ca_bundle())) == 1,
                timeout=30,
            )
        assert [str(r[1].get("message")) for r in stream.refusals] == []


def test_a_foreign_secret_of_that_name_is_refused_and_left_alone(
    webhook_cluster: WebhookCluster,
) -> None:
    webhook_cluster.register(443)
    store = webhook_cluster.store()
    data = {key: Sensitive("foreign") for key in ("tls.crt", "tls.key")}
    foreign = Secret(DRIVER_NAMESPACE, CERTIFICATE, type="kubernetes.io/tls", data=data)
    webhook_cluster.remove_certificate()
    path = f"/api/v1/namespaces/{DRIVER_NAMESPACE}/secrets"
    webhook_cluster.plane.api("POST", path, foreign.to_manifest())
    stored = store.get_secret(DRIVER_NAMESPACE, CERTIFICATE)
    assert stored is not None
    replica = Replica(store, webhook_cluster.configuration())
    replica.start()
    try:
        until(lambda: any("--tls-cert-file" in problem for problem in replica.role.ready()))
        assert store.get_secret(DRIVER_NAMESPACE, CERTIFICATE) == stored
    finally:
        replica.stop()


def test_a_restart_of_the_api_server_is_survived(fragile_plane: ControlPlane) -> None:
    webhook_cluster = WebhookCluster(Cluster(fragile_plane))
    webhook_cluster.create_namespace(NAMESPACE)
    with contextlib.closing(Stage(webhook_cluster)) as stage:
        replica = stage.start(ReplicaOptions(policy=RESTLESS))
        webhook_cluster.wait_until_served(NAMESPACE)
        before = webhook_cluster.ca_bundle()
        fragile_plane.stop_api_server()
        assert replica.role.ready() == []
        assert replica.role.alive() == []
        fragile_plane.start_api_server()
        until(lambda: webhook_cluster.is_served(NAMESPACE), timeout=60)
        until(lambda: webhook_cluster.ca_bundle() != before, "it goes on renewing", timeout=60)
        assert webhook_cluster.is_served(NAMESPACE)


def test_the_rights_are_enough_and_their_lack_is_told(webhook_cluster: WebhookCluster) -> None:
    """`deploy/` names one configuration."""
    webhook_cluster.register(443)
    client: KubernetesClient = webhook_cluster.client()
    foreign = WebhookConfiguration(client, "another-webhook")
    replica = Replica(KubernetesStore(client), foreign)
    replica.start()
    try:
        until(lambda: replica.certificates.context() is not None)
        assert until(replica.role.ready)
    finally:
        replica.stop()
