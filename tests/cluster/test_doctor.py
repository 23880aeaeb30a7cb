"""`kubectl oauth2-csi doctor` on a real API server, with the objects of `deploy/`."""

import base64
import json
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import (
    BROKER,
    BROKER_CA,
    DRIVER_NAMESPACE,
    NODE,
    PUBLIC_ISSUERS,
    REFRESHER,
    TOKENS_NAMESPACE,
    WEBHOOK,
)
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.oauth.public_issuers import ISSUERS_JSON, render_public_issuers
from csidriver.kubectl.main import main
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tests.cluster.installation import Manifest, manifests
from tests.kubectl.login.authorization_server import AuthorizationServer
from tests.refresher.bench import until
from tools.programs import program

pytestmark = [pytest.mark.tools(*PROGRAMS), pytest.mark.usefixtures("installed", "_kubectl")]
KINDS = ("CSIDriver", "Deployment", "DaemonSet", "MutatingWebhookConfiguration")
WHERE = f"--namespace={DRIVER_NAMESPACE}"
NS = "doctor"
# With the status of a cluster of one node.
TWO_PODS = {"replicas": 2, "readyReplicas": 2}
STATUSES: Mapping[str, Mapping[str, int]] = {
    **{f"deployment/{name}": TWO_PODS for name in (REFRESHER, BROKER, WEBHOOK)},
    "daemonset/oauth2-csi-node": dict.fromkeys(
        ("currentNumberScheduled", "desiredNumberScheduled", "numberReady"), 1
    )
    | {"numberMisscheduled": 0},
}
Finding = dict[str, str]
# The rights that the manifests leave to nodes for an upgrade.
USUAL = {"Driver isolation": "warning"}


def adapt(manifest: dict[str, Any], plane: ControlPlane) -> None:
    """Fill what the webhook fills, and leave out what this API server permits nobody."""
    if manifest["kind"] == "MutatingWebhookConfiguration":
        bundle = base64.b64encode(plane.ca.read_bytes()).decode()
        manifest["webhooks"][0]["clientConfig"]["caBundle"] = bundle
    if manifest["kind"] == "DaemonSet":
        for container in manifest["spec"]["template"]["spec"]["containers"]:
            container["securityContext"]["privileged"] = False
            for mount in container["volumeMounts"]:
                mount.pop("mountPropagation", None)


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Iterator[ControlPlane]:
    """The driver as it is where everything runs."""
    cluster.reset_namespaces(NS)
    plane = cluster.plane
    with AuthorizationServer() as server:
        objects = installation(plane, server.issuer)
        for each in objects:
            adapt(each, plane)
        plane.apply_objects(objects)
        for name, status in STATUSES.items():
            patch = f"--patch={json.dumps({'status': status})}"
            plane.kubectl("patch", name, WHERE, "--subresource=status", "--type=merge", patch)
        yield plane
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    plane.kubectl("delete", "--filename=-", "--wait=false", stdin=text)


def installation(plane: ControlPlane, issuer: str) -> list[Manifest]:
    entry = {"name": "cern", "issuer": issuer, "internal": True, "default": True}
    issuers = Issuers.parse([("test", {"issuers": [entry | {"login": {"clientID": "cli"}}]})])
    data = {ISSUERS_JSON: render_public_issuers(issuers)}
    metadata = {"name": REFRESHER, "namespace": DRIVER_NAMESPACE}
    instant = format_rfc3339(time.time()).replace("Z", ".000000Z")
    spec = {"holderIdentity": "pod-1", "leaseDurationSeconds": 3600, "renewTime": instant}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
    public, trusted = (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata | {"name": name}}
        for name in (PUBLIC_ISSUERS, BROKER_CA)
    )
    slices = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata | {"name": BROKER, "labels": {"kubernetes.io/service-name": BROKER}},
        "addressType": "IPv4",
    }
    return [
        *(*manifests(*KINDS), lease | {"spec": spec}, public | {"data": data}),
        trusted | {"data": {"ca.crt": plane.ca.read_text()}},
        slices | {"endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": True}}]},
    ]


@pytest.fixture
def _kubectl(installed: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECTL", str(program("kubectl")))
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(installed.kubeconfig))


def doctor(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Finding]:
    assert main(["doctor", "-n", NS, "-o", "json", *words]) == status, capsys.readouterr().out
    findings = json.loads(capsys.readouterr().out)["findings"]
    return {f"{each['section'].split()[0]} {each['check']}": each for each in findings}


def bad(findings: Mapping[str, Finding]) -> dict[str, str]:
    return {name: each["level"] for name, each in findings.items() if each["level"] != "ok"}


def test_nothing_is_wrong_where_everything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    findings = doctor(capsys)
    assert bad(findings) == USUAL
    assert len(findings) == 19


def test_an_ordinary_user_sees_issuer_and_rights(
    installed: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    user = ["--as=ann", "--as-group=system:authenticated"]
    findings = doctor(capsys, *user, status=1)
    driver = ("CSIDriver", "refresher", "lease", "nodes", "webhook", "webhook pods")
    unseen = (*driver, "broker", "broker CA", "broker reach", "isolation")
    assert bad(findings) == {
        **{f"Driver {name}": "warning" for name in unseen},
        "You rights": "problem",
        "Tokens tokens": "warning",
    }
    for command in findings["You rights"]["cure"].partition(": ")[2].split(" && "):
        installed.kubectl(*shlex.split(command)[1:])
    assert "You rights" not in bad(doctor(capsys, *user))
    for kind in ("role", "rolebinding"):
        installed.kubectl("delete", kind, "oauth2-csi-login", f"--namespace={NS}")


def test_a_kubelet_may_label_its_node_and_register_it_again(installed: ControlPlane) -> None:
    node = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "stolen"}})
    kubelet = ("--as=system:node:stolen", "--as-group=system:nodes")
    for _ in range(2):
        installed.kubectl("create", "--filename=-", *kubelet, stdin=node)
        installed.kubectl("label", "node", "stolen", "disk=ssd", *kubelet)
        for words in (
            ("label", "node", "stolen", "node-restriction.kubernetes.io/team=a"),
            ("taint", "node", "stolen", "team=a:NoSchedule"),
        ):
            done = installed.try_kubectl(*words, *kubelet)
            assert "is not allowed to modify" in done.stderr
        installed.kubectl("delete", "node", "stolen")


def test_nodes_are_isolated_once_their_rights_are_gone(
    installed: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    binding = ("rolebinding", NODE, f"--namespace={TOKENS_NAMESPACE}")
    grant = ("clusterrolebinding", "all-nodes")
    installed.kubectl("delete", *binding)
    try:
        assert bad(doctor(capsys)) == {}
        of_nodes = ("--clusterrole=system:node", "--group=system:nodes")
        installed.kubectl("create", *grant, *of_nodes)
        until(lambda: "authorizer Node" in doctor(capsys)["Driver isolation"]["message"])
    finally:
        installed.kubectl("delete", *grant, "--ignore-not-found")
        installed.install("RoleBinding")
