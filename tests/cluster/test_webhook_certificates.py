"""Certificates and caBundle over time, against a real API server; replicas run in this process."""

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from csidriver.adapters.clock import SystemClock
from csidriver.core.admission.certificates import RotationPolicy
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE
from csidriver.webhook.x509 import CertificateFactory
from tests.cluster.broker_role import create_namespace
from tests.cluster.cluster import Cluster
from tests.cluster.tenants.measuring import meanwhile
from tests.cluster.webhook_cluster import CONFIGURATIONS, WebhookCluster, as_created_by_controllers
from tests.core.admission.pods import ENTRY, as_mirror, pod_with
from tests.waiting import until
from tests.webhook.replica import Replica
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
    poll_interval=0.05,
)
STEP = RESTLESS.propagation_delay / 4


@pytest.fixture(scope="module")
def of_module(cluster: Cluster) -> WebhookCluster:
    webhook_cluster = WebhookCluster(cluster)
    create_namespace(cluster.plane, NAMESPACE)
    return webhook_cluster


@pytest.fixture
def webhook_cluster(of_module: WebhookCluster) -> Iterator[WebhookCluster]:
    """Without configuration and certificate, before and after."""
    of_module.reset()
    yield of_module
    of_module.reset()


class Stage:
    """Replicas behind one Service, which is registered."""

    def __init__(self, webhook_cluster: WebhookCluster) -> None:
        self.front = ServiceProxy()
        self._webhook_cluster = webhook_cluster
        self._replicas: list[Replica] = []
        webhook_cluster.register(self.front.port)

    def start(self, policy: RotationPolicy, clock: SystemClock) -> Replica:
        cluster = self._webhook_cluster
        replica = Replica(cluster.store(), cluster.configuration(), policy, clock)
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


def test_only_annotated_pods_depend_on_the_webhook(webhook_cluster: WebhookCluster) -> None:
    """The mirror of a static pod is nobody's choice: its kubelet must get it into the API."""
    mirror = as_mirror(as_created_by_controllers(pod_with(ENTRY)))
    create = ("create", "--dry-run=server", "--filename=-", f"--namespace={NAMESPACE}")
    with contextlib.closing(Stage(webhook_cluster)) as stage:
        stage.start(RotationPolicy(poll_interval=0.1), SystemClock())
        webhook_cluster.wait_until_served(NAMESPACE)
        done = webhook_cluster.plane.try_kubectl(*create, stdin=json.dumps(mirror))
        assert (done.returncode, done.stderr) == (0, ""), "the webhook would warn"
    for pod in (PLAIN, mirror):
        status, answer = webhook_cluster.create_pod(NAMESPACE, pod)
        assert status == 201, answer
    done = webhook_cluster.plane.try_kubectl(*create, stdin=json.dumps(ANNOTATED))
    assert 'failed calling webhook "to-inject.oauth2.csi.cern.ch"' in done.stderr


class SteppedClock(SystemClock):
    """Stands still but for steps."""

    def __init__(self) -> None:
        self._now = super().now()

    def now(self) -> float:
        return self._now

    def step(self) -> None:
        self._now += STEP


class Canary:
    """Tells when the API server has learnt all configurations that were written before.

    It watches them in order, and so knows the others once it refuses pods for this one.
    """

    def __init__(self, webhook_cluster: WebhookCluster) -> None:
        self._cluster = webhook_cluster
        self._numbers = itertools.count()
        self._manifest = webhook_cluster.manifest(443)
        self._manifest["metadata"]["name"] = "canary"
        (hook,) = self._manifest["webhooks"]
        hook |= {"name": "canary.example.org", "clientConfig": {"url": "https://127.0.0.1:1/"}}
        hook |= {"matchConditions": []}

    def sing(self) -> None:
        label = {"canary": str(next(self._numbers))}
        self._manifest["webhooks"][0]["objectSelector"] = {"matchLabels": label}
        plane, path = self._cluster.plane, f"{CONFIGURATIONS}/canary"
        query, kind = "?fieldManager=test&force=true", "application/apply-patch+yaml"
        assert "webhooks" in plane.api("PATCH", path + query, self._manifest, kind)
        pod = {**PLAIN, "metadata": {**PLAIN["metadata"], "labels": label}}
        until(lambda: self._cluster.create_pod(NAMESPACE, pod)[0] == 500, "it is known")

    def close(self) -> None:
        self._cluster.plane.api("DELETE", f"{CONFIGURATIONS}/canary")


def create_pods(webhook_cluster: WebhookCluster, answers: list[str], stop: threading.Event) -> None:
    """Create pods without a pause; note for each why it was refused, or nothing."""
    while not stop.is_set():
        status, answer = webhook_cluster.create_pod(NAMESPACE, ANNOTATED)
        served = status == 201 and any("csi" in v for v in answer["spec"]["volumes"])
        answers.append("" if served else str(answer.get("message", answer)))


def test_rotation_fails_no_pod_of_a_stream(webhook_cluster: WebhookCluster) -> None:
    """Two replicas, and a third that takes the place of the first, renew each other's all.

    Their clock is as slow as the API server is to learn of a new authority.
    """
    clock = SteppedClock()
    store, parsed = webhook_cluster.store(), CertificateFactory().certificates
    authorities: set[str] = set()
    certificates: set[str] = set()
    answers: list[str] = []
    with (
        contextlib.closing(Stage(webhook_cluster)) as stage,
        contextlib.closing(Canary(webhook_cluster)) as canary,
    ):
        first = stage.start(RESTLESS, clock)
        stage.start(RESTLESS, clock)
        webhook_cluster.wait_until_served(NAMESPACE)

        def rotate(count: int) -> None:
            """Go on until so many authorities were seen."""
            while len(authorities) < count:
                clock.step()
                canary.sing()
                authorities.update(one.id for one in parsed(webhook_cluster.ca_bundle()))
                stored = store.get_secret(DRIVER_NAMESPACE, CERTIFICATE)
                assert stored is not None
                certificates.update(one.id for one in parsed(stored.data["tls.crt"].reveal()))

        stream = partial(create_pods, webhook_cluster, answers)
        with meanwhile(stream, "one"), meanwhile(stream, "two"):
            rotate(3)
            stage.start(RESTLESS, clock)
            stage.stop(first)
            rotate(5)
        assert set(answers) == {""}
        assert len(answers) > 50
        assert len(certificates) >= 8
