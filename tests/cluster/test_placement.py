"""Where a real kube-scheduler puts refresher, broker and webhook; the nodes are but objects."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from csidriver.core.names import BROKER, DRIVER_NAMESPACE, REFRESHER, WEBHOOK
from tests.cluster.controlplane import ControlPlane
from tests.cluster.installation import manifests
from tests.refresher.bench import until

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl", "kube-scheduler")
SCHEDULER = "system:kube-scheduler"
ROLE = "node-role.kubernetes.io/control-plane"
PODS = f"/api/v1/namespaces/{DRIVER_NAMESPACE}/pods"
NODES = "/api/v1/nodes"
GENERATION = "example.org/generation"
ROOM = {"cpu": "8", "memory": "16Gi", "pods": "110"}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with contextlib.closing(ControlPlane(users={SCHEDULER: ""})) as plane:
        plane.start()
        plane.install()
        kubeconfig = f"--kubeconfig={plane.kubeconfig_of(SCHEDULER)}"
        plane.run("kube-scheduler", kubeconfig, "--leader-elect=false", "--secure-port=0")
        yield plane


def add_node(plane: ControlPlane, name: str, *, control_plane: bool) -> str:
    """Add a node; return the value of its label GENERATION, which no other node has."""
    generation = uuid.uuid4().hex
    labels = {"kubernetes.io/os": "linux", "kubernetes.io/hostname": name, GENERATION: generation}
    taints = []
    if control_plane:
        labels[ROLE] = ""
        taints = [{"key": ROLE, "effect": "NoSchedule"}]
    metadata = {"name": name, "labels": labels}
    plane.api("POST", NODES, {"kind": "Node", "apiVersion": "v1", "metadata": metadata})
    merge = "application/merge-patch+json"
    status = {"status": {"capacity": ROOM, "allocatable": ROOM}}
    plane.api("PATCH", f"{NODES}/{name}/status", status, merge)
    # Every node begins with the taint of one that is not ready.
    plane.api("PATCH", f"{NODES}/{name}", {"spec": {"taints": taints}}, merge)
    return generation


def wait_for_scheduler(plane: ControlPlane, generation: str) -> None:
    """Wait until the scheduler knows the newest node: it watches nodes and pods independently."""
    spec = {
        "containers": [{"name": "main", "image": "main"}],
        "serviceAccountName": REFRESHER,
        "nodeSelector": {GENERATION: generation},
        "tolerations": [{"key": ROLE, "effect": "NoSchedule", "operator": "Exists"}],
    }
    node_of_a_new_pod(plane, {"spec": {"template": {"metadata": {}, "spec": spec}}}, "probe")
    plane.api("DELETE", f"{PODS}/probe?gracePeriodSeconds=0")


def node_of_a_new_pod(plane: ControlPlane, deployment: dict[str, Any], name: str) -> str:
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": name}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    assert plane.api("POST", PODS, pod)["kind"] == "Pod"
    found = until(lambda: plane.api("GET", f"{PODS}/{name}")["spec"].get("nodeName"), name)
    return str(found)


@pytest.mark.parametrize(
    ("masters", "workers", "chosen"),
    [(3, 3, {"master"}), (2, 0, {"master"}), (0, 3, {"worker"})],
    ids=["beside workers", "alone", "managed"],
)
@pytest.mark.parametrize("role", [REFRESHER, BROKER, WEBHOOK])
def test_replicas_go_to_different_nodes_of_the_control_plane_if_there_are_any(
    plane: ControlPlane, role: str, masters: int, workers: int, chosen: set[str]
) -> None:
    plane.api("DELETE", f"{PODS}?gracePeriodSeconds=0")
    plane.api("DELETE", NODES)
    newest = ""
    for kind, count in {"worker": workers, "master": masters}.items():
        for number in range(count):
            newest = add_node(plane, f"{kind}-{number}", control_plane=kind == "master")
    wait_for_scheduler(plane, newest)
    (deployment,) = [d for d in manifests("Deployment") if d["metadata"]["name"] == role]
    nodes = [node_of_a_new_pod(plane, deployment, name) for name in ("first", "second")]
    assert {node.split("-")[0] for node in nodes} == chosen, nodes
    assert len(set(nodes)) == 2
