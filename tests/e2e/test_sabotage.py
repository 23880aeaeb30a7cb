"""Somebody destroys what the plugin of one node needs, while pods of both nodes read.

Pods of the other node see nothing of it, and the first one mends itself. Each test prints how many
seconds that took.
"""

from collections.abc import Callable, Iterator
from time import monotonic
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
    PYTHON,
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
_REGISTRY = f"{_KUBELET}/plugins_registry"
_SOCKET = f"{_REGISTRY}/{PLUGIN}-reg.sock"
_VIEW = "/run/oauth2-csi/view"
# MNT_DETACH is 2.
_UNMOUNT = "import ctypes, sys; sys.exit(ctypes.CDLL(None).umount2(sys.argv[1].encode(), 2))"
_SECONDS = 120


def unmount_tokens(_cluster: Cluster, node: Node) -> None:
    node.run("umount", "-l", _TOKENS)


def unmount_the_view(cluster: Cluster, node: Node) -> None:
    name = plugin_of(cluster, node)["metadata"]["name"]
    execute = ("exec", name, "--namespace=oauth2-csi", "--")
    cluster.kubectl(*execute, PYTHON, "-c", _UNMOUNT, _VIEW)


def remove_the_csi_socket(_cluster: Cluster, node: Node) -> None:
    node.run("rm", _CSI_SOCKET)


def replace_the_registry(_cluster: Cluster, node: Node) -> None:
    node.run("mv", _REGISTRY, f"{_REGISTRY}.old")
    node.run("mkdir", "-m", "750", _REGISTRY)
    # It watches the old folder until it starts again.
    node.restart_kubelet()


def kill_the_plugin_without_tokens(_cluster: Cluster, node: Node) -> None:
    node.run("umount", "-l", _TOKENS)
    assert node.kill_processes("oauth2-csi\0node\0") == 1


@pytest.fixture(scope="module")
def all_readers(driver: Cluster, issuer: ScriptedIssuer) -> Iterator[list[Reader]]:
    """Readers on each node, through all sabotages."""
    user = new_user_namespace(driver, "sabotaged")
    yield readers.start(user, issuer, nodes=driver.own.node_names)
    driver.kubectl("delete", "namespace", user.name, "--wait=false")


@pytest.fixture
def node(driver: Cluster) -> Iterator[Node]:
    """The node of the sabotage."""
    node = driver.own.nodes[0]
    yield node
    # Where the plugin did not mend its node, the next test is not to fail for it.
    if not is_whole(driver, node):
        name = plugin_of(driver, node)["metadata"]["name"]
        driver.kubectl("delete", "pod", name, "--namespace=oauth2-csi")
        driver.roll_out("daemonset/oauth2-csi-node")


@pytest.fixture
def sabotage(
    user: UserNamespace, issuer: ScriptedIssuer, node: Node, capsys: pytest.CaptureFixture[str]
) -> Callable[[Callable[[Cluster, Node], None]], None]:
    """Lets somebody act on the node, and waits until a new pod has a token there."""
    user.apply(secret("new", issuer.seed(CLIENT)))
    user.wait_for_status("new", "Ready")

    def sabotage(act: Callable[[Cluster, Node], None]) -> None:
        began = monotonic()
        act(user.cluster, node)
        until(f"{node.name} is mended", lambda: is_whole(user.cluster, node), _SECONDS)
        mended = monotonic() - began
        user.apply(pod("new", inject("new", 0), **on(node.name)))
        user.wait_until_running("new", _SECONDS)
        assert issuer.verify(user.file("new", "/tmp/oauthtk_0").content) is not None
        seconds = monotonic() - began
        with capsys.disabled():
            print(f"\n* {act.__name__}: mended in {mended:.1f} s, a new pod ran in {seconds:.1f} s")

    return sabotage


@pytest.mark.parametrize(
    "act",
    [unmount_tokens, unmount_the_view, remove_the_csi_socket, replace_the_registry],
)
def test_the_node_mends_itself(
    all_readers: list[Reader],
    issuer: ScriptedIssuer,
    sabotage: Callable[[Callable[[Cluster, Node], None]], None],
    act: Callable[[Cluster, Node], None],
) -> None:
    sabotage(act)
    readers.wait_for_next_token(all_readers)
    assert [r.tally() for r in all_readers if not r.has_only_read_valid_tokens()] == []
    assert issuer.max_presentations() == 1


def test_pods_that_keep_a_lost_file_are_told_to_be_replaced(
    all_readers: list[Reader],
    issuer: ScriptedIssuer,
    node: Node,
    sabotage: Callable[[Callable[[Cluster, Node], None]], None],
) -> None:
    here = [reader for reader in all_readers if reader.node == node.name]
    there = [reader for reader in all_readers if reader not in here]
    user = here[0].user
    sabotage(kill_the_plugin_without_tokens)
    for reader in here:
        until(
            "kubelet says what to do",
            lambda name=reader.name: any(  # type: ignore[misc]
                "keep an old token" in text and "delete the pod" in text
                for text in user.mount_failures(name)
            ),
        )
        assert reader.tally()["torn"] == 0
    readers.wait_for_next_token(there)
    assert [reader.tally() for reader in there if not reader.has_only_read_valid_tokens()] == []
    uids = [user.get("pod", reader.name)["metadata"]["uid"] for reader in here]
    user.delete(*(f"pod/{reader.name}" for reader in here))
    assert [mount for uid in uids for mount in node.mounts(uid)] == []
    assert issuer.max_presentations() == 1


def is_whole(cluster: Cluster, node: Node) -> bool:
    """Return True if a plugin serves the node, and finds itself alive and ready."""
    status = plugin_of(cluster, node)["status"]
    try:
        pages = [f"{url(status['podIP'], 9818)}/{name}" for name in ("healthz", "readyz")]
        answers = [urllib3.request("GET", page, timeout=5.0, retries=False) for page in pages]
    except (urllib3.exceptions.HTTPError, KeyError):
        return False
    # Where it listens in a folder that was moved away, it does not know that yet.
    has_sockets = all(node.path(path).is_socket() for path in (_CSI_SOCKET, _SOCKET))
    return has_sockets and all(answer.status == 200 for answer in answers)


def plugin_of(cluster: Cluster, node: Node) -> dict[str, Any]:
    """Return the pod of a node's plugin."""
    select = ("--selector=app.kubernetes.io/component=node", "--namespace=oauth2-csi")
    pods = cluster.get("pods", *select, f"--field-selector=spec.nodeName={node.name}")["items"]
    return dict(pods[0])
