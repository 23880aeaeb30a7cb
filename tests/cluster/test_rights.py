"""The rights of deploy/install.yaml, checked by a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.core.annotations import GRANT_SECRET_TYPE
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import PUBLIC_ISSUERS
from csidriver.core.sensitive import Sensitive
from tests.cluster.controlplane import ControlPlane
from tests.cluster.noderole import DRIVER, NAME, TOKENS, write_secret

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

ALICE = "alice-of-rights"
PLANTED = "planted-that-no-node-may-see"
NOBODY = "nobody"
OBJECTS = ((DRIVER, "grant-1"), (TOKENS, "token-1"), (ALICE, "source"))


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    control_plane.install()
    control_plane.kubectl("create", "namespace", ALICE)
    for namespace, name in OBJECTS:
        data = {"document": Sensitive(PLANTED)}
        write_secret(control_plane, Secret(namespace, name, type=GRANT_SECRET_TYPE, data=data))
    control_plane.kubectl("create", "serviceaccount", NOBODY, f"--namespace={DRIVER}")
    return control_plane


@pytest.fixture(scope="module")
def accounts(plane: ControlPlane) -> dict[str, Path]:
    """Kubeconfigs by service account."""
    return {name: plane.service_account(DRIVER, name) for name in (*RIGHTS, NOBODY)}


DENIED = {
    "secrets everywhere": "get secrets --all-namespaces",
    "sources": f"get secrets --namespace={ALICE}",
    "one source": f"get secret source --namespace={ALICE}",
    "grants": f"get secrets --namespace={DRIVER}",
    "one grant": f"get secret grant-1 --namespace={DRIVER}",
    "list of config maps": f"get configmaps --namespace={ALICE}",
    "all config maps": "get configmaps --all-namespaces",
    "new companion": f"create secret generic mine --namespace={TOKENS}",
    "changed companion": f"annotate secret token-1 a=b --namespace={TOKENS}",
    "removed companion": f"delete secret token-1 --namespace={TOKENS}",
    "removed companions": f"delete secrets --all --namespace={TOKENS}",
    "pods": "get pods --all-namespaces",
    "token of another": f"create token oauth2-csi-refresher --namespace={DRIVER}",
    "other rights": f"delete role oauth2-csi-node --namespace={TOKENS}",
}


@pytest.mark.parametrize("command", DENIED.values(), ids=DENIED.keys())
def test_a_node_may_not(plane: ControlPlane, accounts: dict[str, Path], command: str) -> None:
    before = stored(plane)
    done = plane.try_kubectl(*command.split(), kubeconfig=accounts[NAME])
    assert done.returncode != 0
    assert "forbidden" in done.stderr.lower()
    assert PLANTED not in done.stdout + done.stderr
    assert stored(plane) == before


def stored(plane: ControlPlane) -> set[tuple[str, str]]:
    items = plane.api("GET", "/api/v1/secrets")["items"]
    return {(item["metadata"]["uid"], item["metadata"]["resourceVersion"]) for item in items}


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
    plane: ControlPlane, accounts: dict[str, Path], account: str, namespace: str
) -> None:
    everywhere = pairs(RIGHTS[account][""])
    there = pairs(RIGHTS[account].get(namespace, {}))
    of_all = allowed(plane, accounts[NOBODY], namespace)
    secret = {right for right in of_all if "secrets" in right[0] or "configmaps" in right[0]}
    assert secret == ({(PUBLIC, "get")} if namespace == DRIVER else set())
    assert allowed(plane, accounts[account], namespace) - of_all == everywhere | there


def pairs(rights: dict[str, set[str]]) -> set[tuple[str, str]]:
    return {(what, verb) for what, verbs in rights.items() for verb in verbs}


def allowed(plane: ControlPlane, kubeconfig: Path, namespace: str) -> set[tuple[str, str]]:
    """All that a service account of the driver's namespace may do in another one."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = plane.kubectl(
        "create",
        "--filename=-",
        "--output=json",
        "--validate=false",  # which would need rights of its own
        stdin=json.dumps(review),
        kubeconfig=kubeconfig,
    )
    status = json.loads(answer)["status"]
    return {right for rule in status["resourceRules"] for right in flat(rule)} | {
        (path, verb)
        for rule in status["nonResourceRules"]
        for path in rule["nonResourceURLs"]
        for verb in rule["verbs"]
    }


def flat(rule: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            plural = f"{resource}.{group}" if group else resource
            for name in rule.get("resourceNames") or [""]:
                for verb in rule["verbs"]:
                    yield (f"{plural}/{name}" if name else plural), verb
