"""A stolen node at a real API server, and a broker: its own pods' tokens and nothing else.

The thief has the kubelet's credential of node-a and every token that it may ask for.
"""

import itertools
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from csidriver.adapters.kubernetes import BrokerBackend, KubernetesClient, from_kubeconfig
from csidriver.broker.node_stream import StreamLimits
from csidriver.core.annotations import COMPANION_TYPE
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import (
    BROKER,
    BROKER_AUDIENCE,
    BROKER_CA,
    DRIVER_NAME,
    NODE,
    SourceRef,
)
from csidriver.webhook.certificate_secret import empty_secret
from tests.broker.fakes import FakeCluster, companion
from tests.broker.running import NodeClient, RunningBroker
from tests.cluster.controlplane import ControlPlane
from tests.cluster.noderole import DRIVER, TOKENS
from tests.processes import metrics_of, page_of, running
from tests.refresher.bench import until

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

ALICE, BOB = "alice-of-broker", "bob-of-broker"
KUBELETS = {f"system:node:node-{node}": "system:nodes" for node in "ab"}


class Thief:
    """The cluster, as its administrator and as the kubelet of node-a."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        plane.install()
        for namespace in (ALICE, BOB):
            plane.kubectl("create", "namespace", namespace)
            plane.kubectl("create", "serviceaccount", "default", f"--namespace={namespace}")
        self.plugins: dict[str, PodRef] = {}
        for node in "ab":
            self._post("nodes", {"kind": "Node", "metadata": {"name": f"node-{node}"}})
            plugin = self.pod(DRIVER, f"plugin-{node}", f"node-{node}", account=NODE)
            self.plugins[node] = plugin

    def _post(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.plane.api(
            "POST", f"/api/v1/{path}", {"apiVersion": "v1", **manifest}
        )
        assert answer["kind"] == manifest["kind"], answer
        return answer

    def pod(self, namespace: str, name: str, node: str, *secrets: str, **options: Any) -> PodRef:
        """Create a pod that is bound to a node."""
        content = pod_of(name, node, *secrets, **options)
        made = self._post(f"namespaces/{namespace}/pods", content)
        return PodRef(namespace, name, made["metadata"]["uid"])

    def write(self, ref: SourceRef, generation: int = 1) -> None:
        """Write a companion, as the refresher does."""
        uid = self.plane.api("GET", f"/api/v1/namespaces/{ref.namespace}")["metadata"]["uid"]
        written = companion(generation, ref, namespace_uid=uid)
        secret = Secret(
            TOKENS, ref.companion, "", "", COMPANION_TYPE, written.annotations(), written.data()
        )
        path = f"/api/v1/namespaces/{TOKENS}/secrets/{ref.companion}"
        query, kind = "?fieldManager=oauth2-csi&force=true", "application/apply-patch+yaml"
        assert self.plane.api("PATCH", path + query, secret.to_manifest(), kind)["kind"] == "Secret"

    def token(self, *arguments: str, account: str = NODE, namespace: str = DRIVER) -> str:
        """Return a token that an administrator may ask for."""
        where = f"--namespace={namespace}"
        return self.plane.kubectl("create", "token", account, where, *arguments).strip()

    def kubelet(self, *arguments: str, stdin: str = "") -> Any:
        """Do something with the credential of node-a."""
        kubeconfig = self.plane.kubeconfig_of("system:node:node-a")
        return self.plane.try_kubectl(*arguments, stdin=stdin, kubeconfig=kubeconfig)

    def kubelet_token(self, node: str) -> Any:
        """Ask for a token of a plugin with the credential of node-a."""
        plugin = self.plugins[node]
        bound = (f"--bound-object-name={plugin.name}", f"--bound-object-uid={plugin.uid}")
        flags = (f"--namespace={DRIVER}", AUDIENCE, "--bound-object-kind=Pod", *bound)
        return self.kubelet("create", "token", NODE, *flags)

    def patch_status(self, pod: PodRef, patch: dict[str, Any]) -> None:
        """Change a pod's status with the credential of node-a."""
        config = json.loads(self.plane.kubeconfig_of("system:node:node-a").read_text())
        token = config["users"][0]["user"]["token"]
        kind = "application/strategic-merge-patch+json"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
        with urllib3.PoolManager(ca_certs=str(self.plane.ca)) as pool:
            body = json.dumps(patch)
            done = pool.request("PATCH", self.plane.server + path, body=body, headers=headers)
        assert done.status == 200, done.json()

    def backend(self) -> BrokerBackend:
        kubeconfig = self.plane.service_account(DRIVER, BROKER)
        return BrokerBackend(KubernetesClient(from_kubeconfig(kubeconfig)))


def pod_of(name: str, node: str, *secrets: str, **options: Any) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {
            "name": f"v{number}",
            "csi": {
                "driver": DRIVER_NAME,
                "readOnly": True,
                "volumeAttributes": {
                    "secretName": secret,
                    "owner": "0",
                    "templateConfigMapName": "page",
                },
            },
        }
        for number, secret in enumerate(secrets)
    ]
    account = options.get("account", "default")
    if account == NODE:
        # A kubelet gets tokens for the audiences that a pod of its node names.
        source = {"serviceAccountToken": {"audience": BROKER_AUDIENCE, "path": "token"}}
        volumes.append({"name": "token", "projected": {"sources": [source]}})
    spec = {
        "nodeName": node,
        "containers": [{"name": "main", "image": "main"}],
        "volumes": volumes,
        **({"serviceAccountName": account} if account else {}),
        "automountServiceAccountToken": False,
    }
    metadata = {"name": name, "annotations": options.get("annotations", {})}
    return {"kind": "Pod", "metadata": metadata, "spec": spec}


AUDIENCE = f"--audience={BROKER_AUDIENCE}"
BOUND_TO_A = ("--bound-object-kind=Pod", "--bound-object-name=plugin-a")
HELLO, OF_B = SourceRef(ALICE, "hello-token"), SourceRef(BOB, "of-b")


@pytest.fixture(scope="module")
def thief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thief]:
    flags = ["--enable-admission-plugins=NodeRestriction"]
    folder: Path = tmp_path_factory.mktemp("plane")
    plane = ControlPlane(flags, users=KUBELETS, folder=folder)
    try:
        plane.start()
        thief = Thief(plane)
        for ref in (HELLO, OF_B, SourceRef(ALICE, "other")):
            thief.write(ref)
        yield thief
    finally:
        plane.close()


@pytest.fixture(scope="module")
def web(thief: Thief) -> PodRef:
    return thief.pod(ALICE, "web", "node-a", "hello-token")


@pytest.fixture(scope="module")
def of_b(thief: Thief) -> PodRef:
    return thief.pod(BOB, "db", "node-b", "of-b")


@pytest.fixture(scope="module")
def of_a(thief: Thief) -> str:
    """The plugin's token, as root on node-a gets it: with the kubelet's credential."""
    done = thief.kubelet_token("a")
    assert done.returncode == 0, done.stderr
    token: str = done.stdout.strip()
    return token


@pytest.fixture
def broker(thief: Thief) -> Iterator[RunningBroker]:
    limits = StreamLimits(recheck_every=0.3)
    with RunningBroker(FakeCluster(), limits, thief.backend()) as running:
        yield running


def test_the_token_of_a_pod_on_the_node_is_served_and_rotates(
    thief: Thief, broker: RunningBroker, web: PodRef, of_a: str
) -> None:
    thief.plane.kubectl(
        "create", "configmap", "page", "--from-literal=template=x", f"--namespace={ALICE}"
    )
    with broker.node(of_a) as node:
        node.subscribe(1, web, "hello-token")
        node.generation(1, 1)
        thief.write(HELLO, 2)
        node.generation(1, 2)
        node.subscribe(2, web, config_map="page")
        assert node.state(2, "template").text == "x"


def test_other_pods_and_names_are_denied(
    broker: RunningBroker, web: PodRef, of_b: PodRef, of_a: str
) -> None:
    attempts = [
        (of_b, "of-b", "other_node"),
        (PodRef(BOB, "db", web.uid), "of-b", "pod_replaced"),
        (PodRef(BOB, "web", web.uid), "of-b", "pod_absent"),
        (web, "of-b", "not_in_pod"),
        (web, "other", "not_in_pod"),
        (web, "hello-token.", "invalid_request"),
    ]
    with broker.node(of_a) as node:
        for number, (pod, secret, _) in enumerate(attempts):
            node.subscribe(number, pod, secret)
        reasons = [node.state(number, "denied").reason for number in range(len(attempts))]
        assert reasons == [reason for *_, reason in attempts]
        node.subscribe(9, web, config_map="kube-root-ca.crt")
        assert node.state(9, "denied").reason == "not_in_pod"
        assert not any(update.HasField("companion") for update in node.updates)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param((*BOUND_TO_A, "--audience=api"), "token_refused", id="of another audience"),
        pytest.param(BOUND_TO_A, "token_refused", id="for the API server"),
        pytest.param((AUDIENCE,), "unbound_token", id="unbound"),
        pytest.param(
            (AUDIENCE, "--bound-object-kind=Node", "--bound-object-name=node-a"),
            "unbound_token",
            id="bound to a Node",
        ),
    ],
)
def test_other_tokens_of_the_account_are_denied(
    thief: Thief, broker: RunningBroker, arguments: tuple[str, ...], reason: str
) -> None:
    with broker.node(thief.token(*arguments)) as node:
        assert node.ended().name == "UNAUTHENTICATED"
        assert reason in node.details


def test_the_token_of_a_pods_author_is_denied(
    thief: Thief, broker: RunningBroker, web: PodRef
) -> None:
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={web.name}")
    token = thief.token(AUDIENCE, *bound, account="default", namespace=ALICE)
    with broker.node(token) as node:
        assert node.ended().name == "UNAUTHENTICATED"
        assert "wrong_account" in node.details


def test_a_kubelet_gets_no_token_of_another_nodes_plugin(thief: Thief) -> None:
    done = thief.kubelet_token("b")
    assert done.returncode != 0
    assert "forbidden" in done.stderr


def test_a_static_pod_gets_nothing(thief: Thief, broker: RunningBroker, of_a: str) -> None:
    mirror = {"kubernetes.io/config.mirror": "1", "kubernetes.io/config.source": "file"}
    content = pod_of("made-up", "node-a", "hello-token", account="", annotations=mirror)
    manifest = {"apiVersion": "v1", **content}
    by_kubelet = thief.kubelet(
        "create", "--filename=-", f"--namespace={ALICE}", stdin=json.dumps(manifest)
    )
    assert by_kubelet.returncode != 0, "a newer API server refuses its volume"
    # An older one does not.
    pod = thief.pod(ALICE, "static", "node-a", "hello-token", account="", annotations=mirror)
    with broker.node(of_a) as node:
        node.subscribe(1, pod, "hello-token")
        assert node.state(1, "denied").reason == "static_pod"


def test_what_a_kubelet_writes_into_the_status_gives_nothing(
    thief: Thief, broker: RunningBroker, of_a: str
) -> None:
    pod = thief.pod(ALICE, "patched", "node-a", "hello-token")
    forged = {
        "metadata": {
            "annotations": {
                "oauth2-refresh-controller.cern.ch/to-inject": '[{"secretName": "other"}]'
            }
        },
        "spec": {"volumes": pod_of("", "", "other")["spec"]["volumes"]},
        "status": {"phase": "Running"},
    }
    thief.patch_status(pod, forged)
    with broker.node(of_a) as node:
        node.subscribe(1, pod, "other")
        assert node.state(1, "denied").reason == "not_in_pod"
        node.subscribe(2, pod, "hello-token")
        assert node.wait_for(lambda u: u.id == 2).HasField("companion")


def test_an_ended_pod_gets_nothing_and_a_deleted_one_is_ended(
    thief: Thief, broker: RunningBroker, of_a: str
) -> None:
    pod = thief.pod(ALICE, "job", "node-a", "hello-token")
    with broker.node(of_a) as node:
        node.subscribe(1, pod, "hello-token")
        assert node.wait_for(lambda u: u.id == 1).HasField("companion")
        thief.patch_status(pod, {"status": {"phase": "Succeeded"}})
        # A cache that lags for a moment affirms a pod that has just ended.
        numbers = itertools.count(10)
        while node.answer(number := next(numbers), pod, "hello-token") != "denied":
            node.send(unsubscribe=number)
        assert node.state(number, "denied").reason == "pod_ended"
        thief.plane.kubectl("delete", "pod", "job", "--force", f"--namespace={ALICE}")
        assert node.state(1, "denied").reason == "pod_absent"
        node.subscribe(3, pod, "hello-token")
        assert node.state(3, "denied").reason == "pod_absent"


def test_the_token_of_a_plugin_that_was_deleted_is_refused(
    thief: Thief, broker: RunningBroker
) -> None:
    thief.pod(DRIVER, "plugin-old", "node-a", account=NODE)
    bound = ("--bound-object-kind=Pod", "--bound-object-name=plugin-old")
    token = thief.token(AUDIENCE, *bound)
    thief.plane.kubectl("delete", "pod", "plugin-old", "--force", f"--namespace={DRIVER}")

    def refused() -> bool:
        with broker.node(token) as node:
            return node.ended().name == "UNAUTHENTICATED" and "token_refused" in node.details

    # The API server looks for the pod in a cache, and keeps what it found for seconds.
    broker.until(refused)


def test_the_role_publishes_its_authority_and_serves(thief: Thief, web: PodRef, of_a: str) -> None:
    plane = thief.plane
    plane.kubectl("create", "configmap", BROKER_CA, f"--namespace={DRIVER}")
    empty = empty_secret(DRIVER).to_manifest()
    plane.kubectl("apply", "--filename=-", stdin=json.dumps(empty))
    flags = ["--store", "kubernetes", "--listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"]
    kubeconfig = str(plane.service_account(DRIVER, BROKER))
    with running("broker", *flags, "--kubeconfig", kubeconfig) as (process, log):
        served = until(lambda: re.search(r"are served on port (\d+)", log.read_text("utf-8")))
        path = f"/api/v1/namespaces/{DRIVER}/configmaps/{BROKER_CA}"
        authority = until(lambda: plane.api("GET", path).get("data", {}).get("ca.crt"))
        until(lambda: page_of(log, "readyz") == (200, "ok\n"))
        with NodeClient(int(served[1]), authority, of_a) as node:
            assert node.answer(1, web, "hello-token") == "companion"
            assert "oauth2_csi_broker_subscriptions 1.0" in metrics_of(log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, log.read_text("utf-8")
        assert of_a not in log.read_text("utf-8")
