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
from tests.cluster.installation import INSTALL
from tools.manifests import CHART
from tools.programs import find

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/oauth2-csi-webhook"
SECRETS = "/api/v1/namespaces/oauth2-csi/secrets"
CERTIFICATES = {"ca.crt": "YQ==", "ca.key": "Yg==", "tls.crt": "Yw==", "tls.key": "ZA=="}
PUBLIC = f"/api/v1/namespaces/oauth2-csi/configmaps/{PUBLIC_ISSUERS}"
AUTHORITY = f"/api/v1/namespaces/oauth2-csi/configmaps/{BROKER_CA}"
PUBLISHED = {"issuers.json": "{}"}
BUNDLE = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    """An API server that allows privileged pods, as clusters do."""
    with contextlib.closing(ControlPlane(["--allow-privileged=true"])) as plane:
        plane.start()
        # As a controller manager does.
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        plane.api("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        yield plane


def apply_all(plane: ControlPlane, *flags: str) -> None:
    """The README's command, which says nothing of a deprecated or unknown field."""
    paths = (INSTALL, INSTALL.parent / "demo-issuer.yaml", INSTALL.parents[1] / "examples")
    done = plane.try_kubectl("apply", *flags, *(f"--filename={path}" for path in paths))
    assert (done.returncode, done.stderr) == (0, "")


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


def test_applying_again_leaves_webhook_and_broker_their_certificates_and_authority(
    plane: ControlPlane,
) -> None:
    apply_all(plane)
    trust(plane)
    for flags in ((), ("--server-side", "--force-conflicts")):
        apply_all(plane, *flags)
        assert trusted(plane) == (CERTIFICATES, BUNDLE, {"ca.crt": "a"})


@pytest.mark.tools("helm")
def test_an_upgrade_by_helm_leaves_what_the_roles_have_written(
    plane: ControlPlane, tmp_path: Path
) -> None:
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
