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
    DRIVER_NAME,
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
from tests.cluster.installation import manifests
from tests.kubectl.login.authorization_server import AuthorizationServer
from tests.kubectl.printed import NEEDS_REAUTH
from tests.refresher.bench import until
from tools.programs import program

pytestmark = [pytest.mark.tools(*PROGRAMS), pytest.mark.usefixtures("installed", "_kubectl")]
KINDS = ("CSIDriver", "Deployment", "DaemonSet", "MutatingWebhookConfiguration")
WHERE = f"--namespace={DRIVER_NAMESPACE}"
NS = "doctor"
NEEDLE = "needle-in-a-secret-4711"
# With the status of a cluster of one node.
TWO_PODS = {"replicas": 2, "readyReplicas": 2}
STATUSES: Mapping[str, Mapping[str, int]] = {
    f"deployment/{REFRESHER}": TWO_PODS,
    f"deployment/{BROKER}": TWO_PODS,
    f"deployment/{WEBHOOK}": TWO_PODS,
    "daemonset/oauth2-csi-node": {
        "currentNumberScheduled": 1,
        "desiredNumberScheduled": 1,
        "numberMisscheduled": 0,
        "numberReady": 1,
    },
}
Finding = dict[str, str]
# The rights that the manifests leave to nodes for an upgrade.
USUAL = {"Driver isolation": "warning"}


@pytest.fixture(scope="module")
def server() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as running:
        yield running


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
def installed(cluster: Cluster, server: AuthorizationServer) -> Iterator[ControlPlane]:
    """The driver as it is where everything runs."""
    plane = cluster.plane
    cluster.reset_namespaces(NS)
    entry = {"name": "cern", "issuer": server.issuer, "internal": True, "default": True}
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
    objects = [
        *(*manifests(*KINDS), lease | {"spec": spec}, public | {"data": data}),
        trusted | {"data": {"ca.crt": plane.ca.read_text()}},
        slices | {"endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": True}}]},
    ]
    for each in objects:
        adapt(each, plane)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    plane.kubectl("apply", "--filename=-", stdin=text)
    for name, status in STATUSES.items():
        patch = f"--patch={json.dumps({'status': status})}"
        plane.kubectl("patch", name, WHERE, "--subresource=status", "--type=merge", patch)
    try:
        yield plane
    finally:
        plane.kubectl("delete", "--filename=-", "--wait=false", stdin=text)


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


PATCHES: dict[str, tuple[str, str, Any]] = {
    "Driver CSIDriver": (f"csidriver/{DRIVER_NAME}", "", {"spec": {"requiresRepublish": False}}),
    "Driver refresher": (f"deployment/{REFRESHER}", "status", {"status": {"readyReplicas": 0}}),
    "Driver webhook pods": (f"deployment/{WEBHOOK}", "status", {"status": {"readyReplicas": 0}}),
    "Driver broker": (f"endpointslice/{BROKER}", "", {"endpoints": None}),
    "Driver broker CA": (f"configmap/{BROKER_CA}", "", {"data": None}),
    "Driver nodes": ("daemonset/oauth2-csi-node", "status", {"status": {"numberReady": 0}}),
    "Driver lease": (f"lease/{REFRESHER}", "", {"spec": {"holderIdentity": ""}}),
    "Driver issuers": (f"configmap/{PUBLIC_ISSUERS}", "", {"data": None}),
}


@pytest.mark.parametrize("name", PATCHES)
def test_each_defect_is_a_problem(
    installed: ControlPlane, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    target, subresource, patch = PATCHES[name]
    before = json.loads(installed.kubectl("get", target, WHERE, "--output=json"))
    (section,) = patch
    flags = [WHERE, "--type=merge", *([f"--subresource={subresource}"] if subresource else [])]
    installed.kubectl("patch", target, *flags, f"--patch={json.dumps(patch)}")
    try:
        assert bad(doctor(capsys, status=1)) == {name: "problem"} | USUAL
    finally:
        restored = json.dumps({section: before[section]})
        installed.kubectl("patch", target, *flags, f"--patch={restored}")


def test_an_absent_csi_driver_is_a_problem(
    installed: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    (manifest,) = manifests("CSIDriver")
    installed.kubectl("delete", "csidriver", DRIVER_NAME)
    try:
        found = doctor(capsys, status=1)
    finally:
        installed.kubectl("create", "--filename=-", stdin=json.dumps(manifest))
    assert bad(found) == {"Driver CSIDriver": "problem"} | USUAL
    assert "not found" in found["Driver CSIDriver"]["message"]


def test_nodes_are_isolated_once_their_rights_are_gone(
    installed: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    binding = ("rolebinding", NODE, f"--namespace={TOKENS_NAMESPACE}")
    before = installed.kubectl("get", *binding, "--output=json")
    installed.kubectl("delete", *binding)
    try:
        assert bad(doctor(capsys)) == {}
        installed.kubectl(*GRANT, "--clusterrole=system:node", "--group=system:nodes")
        until(lambda: "authorizer Node" in doctor(capsys)["Driver isolation"]["message"])
    finally:
        installed.kubectl("delete", *GRANT[1:], "--ignore-not-found")
        installed.kubectl("apply", "--filename=-", stdin=before)


GRANT = ("create", "clusterrolebinding", "all-nodes")


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


def test_a_token_that_needs_a_login_is_named(
    installed: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = {"name": "mail", "namespace": NS, "annotations": NEEDS_REAUTH}
    content = {"metadata": metadata, "stringData": {"oauth": NEEDLE}}
    secret = {"apiVersion": "v1", "kind": "Secret", **content}
    installed.kubectl("create", "--filename=-", stdin=json.dumps(secret))
    try:
        found = doctor(capsys, "cern", status=1)
    finally:
        installed.kubectl("delete", "secret", "mail", f"--namespace={NS}")
    assert bad(found) == {"Tokens cern": "problem"} | USUAL
    assert NEEDLE not in json.dumps(found)
    assert found["Tokens cern"]["cure"].startswith("run: kubectl oauth2-csi login mail -n ")


def test_a_cluster_out_of_reach_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--cluster=absent", "--context=absent"):
        assert bad(doctor(capsys, option, status=1)) == {"Driver cluster": "problem"}
