"""Stolen tokens of the roles that fill ConfigMaps for others, and the policies of `deploy/`."""

import json

import pytest

from csidriver.core.names import BROKER, BROKER_CA, DRIVER_NAMESPACE, PUBLIC_ISSUERS, REFRESHER
from tests.cluster.account import Account, Patch, told
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.installation import manifests

pytestmark = pytest.mark.tools(*PROGRAMS)
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}
# Who fills which key.
FILLED = {PUBLIC_ISSUERS: (REFRESHER, "issuers.json"), BROKER_CA: (BROKER, "ca.crt")}
KEY, REST = "leaves only the key", "changes no metadata"
CHANGES: dict[str, tuple[Patch, str]] = {
    "further key": ({"data": {"more": "x"}}, KEY),
    "bytes": ({"binaryData": {"more": "eA=="}}, KEY),
    "immutable": ({"immutable": True}, KEY),
    "label": ({"metadata": {"labels": {"a": "b"}}}, REST),
    "annotation": ({"metadata": {"annotations": {"a": "b"}}}, REST),
    "owner": ({"metadata": {"ownerReferences": [OWNER]}}, REST),
    "finalizer": ({"metadata": {"finalizers": ["a.b/c"]}}, REST),
}


@pytest.fixture(scope="module", params=FILLED)
def filled(request: pytest.FixtureRequest, cluster: Cluster) -> tuple[str, Account]:
    """A ConfigMap, and the account whose policy is in force."""
    name: str = request.param
    (manifest,) = [m for m in manifests("ConfigMap") if m["metadata"]["name"] == name]
    cluster.plane.kubectl("apply", "--filename=-", stdin=json.dumps(manifest))
    account = Account(cluster, FILLED[name][0], "configmap", DRIVER_NAMESPACE)
    account.wait_until_refused(name, {"immutable": True})
    return name, account


@pytest.mark.parametrize(("patch", "text"), CHANGES.values(), ids=CHANGES.keys())
def test_a_stolen_token_does_not_change(
    filled: tuple[str, Account], patch: Patch, text: str
) -> None:
    name, account = filled
    role = FILLED[name][0].removeprefix("oauth2-csi-")
    assert told(name, f"the {role} {text}") in account.patch(name, patch).stderr


def test_the_role_fills_its_key(filled: tuple[str, Account]) -> None:
    name, account = filled
    done = account.patch(name, {"data": {FILLED[name][1]: "x"}}, "--dry-run=server")
    assert done.returncode == 0, done.stderr


def test_a_stolen_token_changes_no_other_config_map(filled: tuple[str, Account]) -> None:
    name, account = filled
    (other,) = FILLED.keys() - {name}
    patch = account.patch(other, {"data": {FILLED[other][1]: "x"}}, "--dry-run=server")
    assert "forbidden" in patch.stderr.lower()
