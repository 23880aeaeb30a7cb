"""What `kubectl oauth2-csi doctor` asks a real API server; tests/kubectl/doctor has the rest."""

import json
import shlex
from pathlib import Path

import pytest

from csidriver.core.names import DRIVER_NAMESPACE, NODE, TOKENS_NAMESPACE
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.broker_checks import check_isolation
from csidriver.kubectl.doctor.finding import Finding, Level
from csidriver.kubectl.doctor.user_checks import check_rights
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tests.waiting import until
from tools.programs import program

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "doctor"


@pytest.fixture
def plane(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ControlPlane:
    cluster.reset_namespaces(NS)
    monkeypatch.setenv("KUBECTL", str(program("kubectl")))
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(cluster.plane.kubeconfig))
    return cluster.plane


def test_the_cure_gives_an_ordinary_user_the_rights(plane: ControlPlane) -> None:
    user = Kubectl(["--as=ann", "--as-group=system:authenticated"])
    (found,) = check_rights(user, NS)
    assert found.level is Level.PROBLEM
    for command in found.cure.partition(": ")[2].split(" && "):
        plane.kubectl(*shlex.split(command)[1:])
    assert [found.level for found in check_rights(user, NS)] == [Level.OK]
    for kind in ("role", "rolebinding"):
        plane.kubectl("delete", kind, "oauth2-csi-login", f"--namespace={NS}")


def test_a_kubelet_may_label_its_node_and_register_it_again(plane: ControlPlane) -> None:
    node = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "stolen"}})
    kubelet = ("--as=system:node:stolen", "--as-group=system:nodes")
    for _ in range(2):
        plane.kubectl("create", "--filename=-", *kubelet, stdin=node)
        plane.kubectl("label", "node", "stolen", "disk=ssd", *kubelet)
        for words in (
            ("label", "node", "stolen", "node-restriction.kubernetes.io/team=a"),
            ("taint", "node", "stolen", "team=a:NoSchedule"),
        ):
            done = plane.try_kubectl(*words, *kubelet)
            assert "is not allowed to modify" in done.stderr
        plane.kubectl("delete", "node", "stolen")


def test_nodes_are_isolated_once_their_rights_are_gone(plane: ControlPlane) -> None:
    def isolation() -> Finding:
        (found,) = check_isolation(Kubectl(), DRIVER_NAMESPACE)
        return found

    assert isolation().level is Level.WARNING, "the manifests leave rights to nodes for an upgrade"
    grant = ("clusterrolebinding", "all-nodes")
    plane.kubectl("delete", "rolebinding", NODE, f"--namespace={TOKENS_NAMESPACE}")
    try:
        assert isolation().level is Level.OK
        of_nodes = ("--clusterrole=system:node", "--group=system:nodes")
        plane.kubectl("create", *grant, *of_nodes)
        until(lambda: "authorizer Node" in isolation().message)
    finally:
        plane.kubectl("delete", *grant, "--ignore-not-found")
        plane.install("RoleBinding")
