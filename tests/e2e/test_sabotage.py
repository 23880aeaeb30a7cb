"""Somebody destroys what the plugin of one node needs, while pods of both nodes read.

Pods of the other node see nothing of it, and the first one mends itself. tests/node has the rest of
what may be lost.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from tests.e2e import readers
from tests.e2e.addresses import url
from tests.e2e.cluster import Cluster, until
from tests.e2e.installation import PLUGIN
from tests.e2e.node import Node
from tests.e2e.readers import Reader
from tests.e2e.user_namespace import (
    CLIENT,
    UserNamespace,
    inject,
    new_user_namespace,
    on,
    pod,
    secret,
)
from tests.issuer.issuer import ScriptedIssuer

_KUBELET = "/var/lib/kubelet"
_TOKENS = f"{_KUBELET}/plugins/{PLUGIN}/tokens"
_CSI_SOCKET = f"{_KUBELET}/plugins/{PLUGIN}/csi.sock"
_SOCKET = f"{_KUBELET}/plugins_registry/{PLUGIN}-reg.sock"
_SECONDS = 120


@pytest.fixture(scope="module")
def all_readers(driver: Cluster, issuer: ScriptedIssuer) -> Iterator[list[Reader]]:
    """Readers on each node, through all sabotages."""
    user = new_user_namespace(driver, "sabotaged")
    yield readers.start(user, issuer, nodes=driver.own.node_names)
    driver.kubectl("delete", "namespace", user.name, "--wait=false")


@pytest.fixture
def node(driver: Cluster) -> Node:
    """The node of the sabotage."""
    return driver.own.nodes[0]


def assert_it_mends_itself(user: UserNamespace, issuer: ScriptedIssuer, node: Node) -> None:
    """Wait until the plugin is whole, and a new pod has a token there."""
    until(f"{node.name} is mended", lambda: is_whole(user.cluster, node), _SECONDS)
    user.apply(secret("new", issuer.seed(CLIENT)), pod("new", inject("new", 0), **on(node.name)))
    user.wait_until_running("new", _SECONDS)
    assert issuer.verify(user.file("new", "/tmp/oauthtk_0").content) is not None


def assert_read_on(found: list[Reader]) -> None:
    readers.wait_for_next_token(found)
    assert [reader.tally() for reader in found if not reader.has_only_read_valid_tokens()] == []


def test_the_node_mends_itself(
    all_readers: list[Reader], user: UserNamespace, issuer: ScriptedIssuer, node: Node
) -> None:
    node.run("umount", "-l", _TOKENS)
    node.run("rm", _CSI_SOCKET)
    assert_it_mends_itself(user, issuer, node)
    assert_read_on(all_readers)


def test_pods_that_keep_a_lost_file_are_told_to_be_replaced(
    all_readers: list[Reader], user: UserNamespace, issuer: ScriptedIssuer, node: Node
) -> None:
    here = [reader for reader in all_readers if reader.node == node.name]
    node.run("umount", "-l", _TOKENS)
    assert node.kill_processes("oauth2-csi\0node\0") == 1
    assert_it_mends_itself(user, issuer, node)
    sabotaged = here[0].user
    for reader in here:
        until("kubelet says what to do", lambda name=reader.name: is_told(sabotaged, name))  # type: ignore[misc]
        assert reader.tally()["torn"] == 0
    assert_read_on([reader for reader in all_readers if reader not in here])
    uids = [sabotaged.get("pod", reader.name)["metadata"]["uid"] for reader in here]
    sabotaged.delete(*(f"pod/{reader.name}" for reader in here))
    assert [mount for uid in uids for mount in node.mounts(uid)] == []
    assert issuer.max_presentations() == 1


def is_told(user: UserNamespace, pod_name: str) -> bool:
    failures = user.mount_failures(pod_name)
    return any("keep an old token" in text and "delete the pod" in text for text in failures)


def is_whole(cluster: Cluster, node: Node) -> bool:
    """Return True if a plugin serves the node, and finds itself alive and ready."""
    status = plugin_of(cluster, node)["status"]
    try:
        pages = [f"{url(status['podIP'], 9818)}/{name}" for name in ("healthz", "readyz")]
        answers = [urllib3.request("GET", page, timeout=5.0, retries=False) for page in pages]
    except (urllib3.exceptions.HTTPError, KeyError):
        return False
    has_sockets = all(node.path(path).is_socket() for path in (_CSI_SOCKET, _SOCKET))
    return has_sockets and all(answer.status == 200 for answer in answers)


def plugin_of(cluster: Cluster, node: Node) -> dict[str, Any]:
    """Return the pod of a node's plugin."""
    select = ("--selector=app.kubernetes.io/component=node", "--namespace=oauth2-csi")
    pods = cluster.get("pods", *select, f"--field-selector=spec.nodeName={node.name}")["items"]
    return dict(pods[0])
