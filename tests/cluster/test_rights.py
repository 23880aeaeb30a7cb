"""The rights of deploy/install.yaml, checked by a real API server."""

import json

import pytest

from csidriver.adapters.kubernetes import KubernetesClient, KubernetesStore, from_kubeconfig
from csidriver.errors import StoreUnavailable
from tests.cluster.controlplane import ControlPlane, allowed
from tests.deploy.test_manifests import DRIVER, PUBLIC, RIGHTS, TOKENS, Right

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


def of_namespace(rights: set[Right], namespace: str) -> set[tuple[str, str]]:
    """Return rights as `allowed` names them: what, and the verb."""
    return {
        (".".join(filter(None, (plural, group))) + (f"/{name}" if name else ""), verb)
        for where, group, plural, name, verb in rights
        if where in {"", namespace}
    }


@pytest.mark.parametrize("namespace", [DRIVER, TOKENS, ALICE, "kube-system"])
@pytest.mark.parametrize("account", RIGHTS)
def test_each_role_may_do_this_and_nothing_else(
    plane: ControlPlane, tokens: dict[str, str], account: str, namespace: str
) -> None:
    of_all = allowed(plane, tokens[NOBODY], namespace)
    readable = {right for right in of_all if "secrets" in right[0] or "configmaps" in right[0]}
    assert readable == of_namespace(PUBLIC, namespace)
    expected = of_namespace(RIGHTS[account], namespace)
    assert allowed(plane, tokens[account], namespace) - of_all == expected - readable
