"""`deploy/` on a real API server: what is applied is valid, admitted, and may be applied again."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.names import BROKER_CA, CERTIFICATE, PUBLIC_ISSUERS
from tests.cluster.controlplane import ControlPlane
from tests.cluster.installation import INSTALL, manifests
from tests.deploy.rendering import text_of
from tools.manifests import CHART
from tools.programs import find

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

DEPLOY, EXAMPLES = INSTALL.parent, INSTALL.parents[1] / "examples"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/oauth2-csi-webhook"
SECRETS = "/api/v1/namespaces/oauth2-csi/secrets"
CERTIFICATES = {"ca.crt": "YQ==", "ca.key": "Yg==", "tls.crt": "Yw==", "tls.key": "ZA=="}
PUBLIC = f"/api/v1/namespaces/oauth2-csi/configmaps/{PUBLIC_ISSUERS}"
AUTHORITY = f"/api/v1/namespaces/oauth2-csi/configmaps/{BROKER_CA}"
PUBLISHED = {"issuers.json": "{}"}
BUNDLE = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="


@contextlib.contextmanager
def empty_cluster() -> Iterator[ControlPlane]:
    """An API server that allows privileged pods, as clusters do."""
    with contextlib.closing(ControlPlane(["--allow-privileged=true"])) as plane:
        plane.start()
        account(plane, "default", "default")
        yield plane


def account(plane: ControlPlane, namespace: str, name: str) -> None:
    """Create the objects that a controller manager would make."""
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    plane.api("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body)


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with empty_cluster() as plane:
        yield plane


def apply_all(plane: ControlPlane, *flags: str) -> subprocess.CompletedProcess[str]:
    """The README's command."""
    paths = (INSTALL, DEPLOY / "demo-issuer.yaml", EXAMPLES)
    return plane.try_kubectl("apply", *flags, *(f"--filename={path}" for path in paths))


def trust(plane: ControlPlane) -> None:
    """Do what webhook and broker do first."""
    where = f"{SECRETS}/{CERTIFICATE}?fieldManager=oauth2-csi"
    plane.api("PATCH", where, {"data": CERTIFICATES}, "application/merge-patch+json")
    where = "/webhooks/0/clientConfig/caBundle"
    patch = [{"op": "add", "path": where, "value": BUNDLE}]
    plane.api("PATCH", HOOKS, patch, "application/json-patch+json")
    where = f"{AUTHORITY}?fieldManager=oauth2-csi"
    plane.api("PATCH", where, {"data": {"ca.crt": "a"}}, "application/merge-patch+json")


def trusted(plane: ControlPlane) -> tuple[Any, Any, Any]:
    """The certificates of webhook and broker, and the CAs that API server and nodes trust."""
    (hook,) = plane.api("GET", HOOKS)["webhooks"]
    secret = plane.api("GET", f"{SECRETS}/{CERTIFICATE}")
    authority = plane.api("GET", AUTHORITY).get("data")
    return secret.get("data"), hook["clientConfig"].get("caBundle"), authority


def test_one_apply_brings_everything_to_an_empty_cluster(plane: ControlPlane) -> None:
    done = apply_all(plane)
    assert (done.returncode, done.stderr) == (0, "")
    files = [INSTALL, DEPLOY / "demo-issuer.yaml", *sorted(EXAMPLES.glob("*.yaml"))]
    assert len(done.stdout.splitlines()) == sum(len(manifests(path=path)) for path in files)


@pytest.mark.parametrize("flags", [(), ("--server-side", "--force-conflicts")])
def test_applying_again_leaves_webhook_and_broker_their_certificates_and_authority(
    plane: ControlPlane, flags: tuple[str, ...]
) -> None:
    assert apply_all(plane, *flags).returncode == 0
    trust(plane)
    assert apply_all(plane, *flags).returncode == 0
    assert trusted(plane) == (CERTIFICATES, BUNDLE, {"ca.crt": "a"})


def test_a_cleanup_replaces_the_node_plugin_and_the_installation_brings_it_back(
    plane: ControlPlane,
) -> None:
    where = "/apis/apps/v1/namespaces/oauth2-csi/daemonsets/oauth2-csi-node"

    def names() -> list[str]:
        pod = plane.api("GET", where)["spec"]["template"]["spec"]
        return [c["name"] for c in [*pod.get("initContainers", []), *pod["containers"]]]

    assert apply_all(plane).returncode == 0
    assert names() == ["node"]
    plane.kubectl("apply", f"--filename={DEPLOY / 'cleanup.yaml'}")
    assert names() == ["cleanup", "done"]
    assert apply_all(plane).returncode == 0
    assert names() == ["node"]


POD_FILES = ("install.yaml", "cleanup.yaml", "demo-issuer.yaml")


def test_pods_but_those_of_nodes_meet_the_restricted_security_level(plane: ControlPlane) -> None:
    level = "restricted"
    metadata = {"name": level, "labels": {"pod-security.kubernetes.io/enforce": level}}
    plane.api("POST", "/api/v1/namespaces", {"metadata": metadata})
    refused = set()
    for name in POD_FILES:
        for workload in manifests("DaemonSet", "Deployment", path=DEPLOY / name):
            template = workload["spec"]["template"]
            account(plane, level, template["spec"].get("serviceAccountName", "default"))
            pod = {"apiVersion": "v1", "kind": "Pod", **template}
            pod["metadata"] = {**template["metadata"], "name": "x"}
            where = f"/api/v1/namespaces/{level}/pods?dryRun=All"
            answer = plane.api("POST", where, pod)
            if answer["kind"] != "Pod":
                assert "violates PodSecurity" in answer["message"], answer
                refused.add((name, workload["metadata"]["name"]))
    assert refused == {(name, "oauth2-csi-node") for name in ("install.yaml", "cleanup.yaml")}


@pytest.mark.tools("helm")
def test_an_installation_changes_to_other_values_in_place(plane: ControlPlane) -> None:
    added = {
        "metricsPort": 12345,
        "podLabels": {"example.org/pod": "a"},
        "serviceAccountAnnotations": {"example.org/role": "a"},
        "extraVolumes": [{"name": "more", "configMap": {"name": "more", "optional": True}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": True}],
    }
    values: dict[str, Any] = dict.fromkeys(("node", "refresher", "broker", "webhook"), added)
    values["webhook"] = added | {"hostNetwork": True, "port": 10260}
    values |= {"labels": {"example.org/team": "aai"}, "namespace": {"create": True}}
    assert apply_all(plane).returncode == 0
    done = plane.try_kubectl(
        "apply", "--dry-run=server", "--filename=-", stdin=text_of(values=values)
    )
    assert (done.returncode, done.stderr) == (0, "")
    changed = [line for line in done.stdout.splitlines() if " configured " in line]
    kinds = {"daemonset.apps", "deployment.apps", "serviceaccount", "service"}
    assert {line.split()[0].split("/")[0] for line in changed} >= kinds


@pytest.mark.tools("helm")
def test_an_upgrade_by_helm_leaves_what_the_roles_have_written(tmp_path: Path) -> None:
    with empty_cluster() as plane:
        plane.kubectl("create", "namespace", "oauth2-csi")
        # Of an earlier version, which made it by itself: helm takes over no object of others.
        earlier = ["create", "secret", "generic", "oauth2-csi-webhook-tls", "--from-literal=a=b"]
        plane.kubectl(*earlier, "--namespace=oauth2-csi")
        helm(plane, tmp_path, "install")
        assert trusted(plane) == (None, None, None)
        trust(plane)
        plane.api("PATCH", PUBLIC, {"data": PUBLISHED}, "application/merge-patch+json")
        helm(plane, tmp_path, "upgrade", "--set=webhook.timeoutSeconds=7")
        assert plane.api("GET", PUBLIC)["data"] == PUBLISHED
        (hook,) = plane.api("GET", HOOKS)["webhooks"]
        assert hook["timeoutSeconds"] == 7
        assert trusted(plane) == (CERTIFICATES, BUNDLE, {"ca.crt": "a"})
        helm(plane, tmp_path, "uninstall")
        left = [s for s in plane.api("GET", SECRETS)["items"] if "helm" not in s["type"]]
        assert [secret["metadata"]["name"] for secret in left] == ["oauth2-csi-webhook-tls"]
        found = plane.api("GET", "/api/v1/namespaces/oauth2-csi")
        assert found["status"]["phase"] == "Active", "it holds the grants"


def helm(plane: ControlPlane, home: Path, command: str, *flags: str) -> None:
    chart = [] if command == "uninstall" else [str(CHART)]
    where = [f"--kubeconfig={plane.kubeconfig}", "--namespace=oauth2-csi"]
    done = subprocess.run(  # noqa: S603 - a program of ours
        [str(find("helm")), command, "oauth2-csi", *chart, *where, *flags],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
