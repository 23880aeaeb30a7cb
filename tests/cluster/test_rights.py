"""The rights of deploy/install.yaml, checked by a real API server."""

import json

import pytest

from csidriver.adapters.kubernetes import KubernetesClient, KubernetesStore, from_kubeconfig
from csidriver.core.names import PUBLIC_ISSUERS
from csidriver.errors import StoreUnavailable
from tests.cluster.controlplane import ControlPlane, allowed
from tests.cluster.noderole import DRIVER, TOKENS

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

ALICE = "alice-of-rights"
NOBODY = "nobody"


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    control_plane.install()
    control_plane.kubectl("create", "namespace", ALICE)
    control_plane.kubectl("create", "serviceaccount", NOBODY, f"--namespace={DRIVER}")
    return control_plane


@pytest.fixture(scope="module")
def tokens(plane: ControlPlane) -> dict[str, str]:
    """Tokens by service account."""
    where = f"--namespace={DRIVER}"
    return {a: plane.kubectl("create", "token", a, where).strip() for a in (*RIGHTS, NOBODY)}


def test_a_server_of_another_authority_is_not_spoken_to(plane: ControlPlane) -> None:
    loaded = json.loads(plane.kubeconfig.read_text())
    del loaded["clusters"][0]["cluster"]["certificate-authority"]
    path = plane.root / "untrusted.kubeconfig"
    path.write_text(json.dumps(loaded))
    store = KubernetesStore(KubernetesClient(from_kubeconfig(path)))
    with pytest.raises(StoreUnavailable, match="not trusted"):
        store.get_secret(DRIVER, "grant-1")


READ = {"get", "list", "watch"}
LEASE = "leases.coordination.k8s.io"
PUBLIC = f"configmaps/{PUBLIC_ISSUERS}"
HOOK = "mutatingwebhookconfigurations.admissionregistration.k8s.io/oauth2-csi-webhook"
# Everywhere, then what comes on top in single namespaces. A name after a slash: only that object.
RIGHTS: dict[str, dict[str, dict[str, set[str]]]] = {
    "oauth2-csi-node": {
        "": {"configmaps": {"get"}, "namespaces": {"get"}},
        TOKENS: {"secrets": READ},
    },
    "oauth2-csi-refresher": {
        "": {
            "secrets": {*READ, "patch"},
            "events": {"create", "patch"},
            "namespaces": {"get"},
        },
        TOKENS: {"secrets": {*READ, "create", "patch", "delete"}},
        DRIVER: {
            "secrets": {*READ, "create", "patch", "delete"},
            LEASE: {"create"},
            f"{LEASE}/oauth2-csi-refresher": {"get", "update"},
            PUBLIC: {"patch"},
        },
    },
    "oauth2-csi-broker": {
        "": {
            "pods": {"get", "list"},
            "configmaps": {"get"},
            "namespaces": {"get"},
            "tokenreviews.authentication.k8s.io": {"create"},
        },
        TOKENS: {"secrets": READ - {"get"}},
        DRIVER: {
            "secrets/oauth2-csi-webhook-certificate": {"get", "patch"},
            "configmaps/oauth2-csi-broker-ca": {"get", "patch"},
        },
    },
    "oauth2-csi-webhook": {
        "": {HOOK: {"get", "patch"}},
        DRIVER: {"secrets/oauth2-csi-webhook-certificate": {"get", "patch"}},
    },
}


@pytest.mark.parametrize("namespace", [DRIVER, TOKENS, ALICE, "kube-system"])
@pytest.mark.parametrize("account", RIGHTS)
def test_each_role_may_do_this_and_nothing_else(
    plane: ControlPlane, tokens: dict[str, str], account: str, namespace: str
) -> None:
    of_all = allowed(plane, tokens[NOBODY], namespace)
    readable = {right for right in of_all if "secrets" in right[0] or "configmaps" in right[0]}
    assert readable == ({(PUBLIC, "get")} if namespace == DRIVER else set())
    rights = [RIGHTS[account][""], RIGHTS[account].get(namespace, {})]
    expected = {(what, verb) for each in rights for what, verbs in each.items() for verb in verbs}
    assert allowed(plane, tokens[account], namespace) - of_all == expected
