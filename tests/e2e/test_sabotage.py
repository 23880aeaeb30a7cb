"""Somebody destroys what the plugin of one node needs, while pods of both nodes read.

The other node sees nothing of it, and the first one mends itself. Each test prints how many seconds
that took.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e import readers
from tests.e2e.cluster import Cluster, until
from tests.e2e.installation import PLUGIN
from tests.e2e.node import Node
from tests.e2e.user_namespace import CLIENT, UserNamespace, inject, on, pod, secret
from tests.issuer.issuer import ScriptedIssuer

_TOKENS = f"/var/lib/kubelet/plugins/{PLUGIN}/tokens"
_COVER = f"{_TOKENS}/cover"
_REGISTRY = "/var/lib/kubelet/plugins_registry"
_SOCKET = f"{_REGISTRY}/{PLUGIN}-reg.sock"
_PLUGINS = "--selector=app.kubernetes.io/component=node"
_SECONDS = 120


def unmount_tokens(node: Node) -> None:
    node.run("umount", "-l", _TOKENS)


def cover_tokens(node: Node) -> None:
    node.run("mount", "-t", "tmpfs", "cover", _TOKENS)
    node.run("touch", _COVER)


def remove_the_socket(node: Node) -> None:
    node.run("rm", _SOCKET)


def replace_the_registry(node: Node) -> None:
    node.run("mv", _REGISTRY, f"{_REGISTRY}.old")
    node.run("mkdir", "-m", "750", _REGISTRY)
    # It watches the old folder until it starts again.
    node.restart("kubelet")


@pytest.fixture
def nodes(driver: Cluster) -> Iterator[tuple[Node, Node]]:
    """The node of the sabotage, and another one."""
    first, second = driver.own.nodes
    yield first, second
    # Where the plugin did not mend its node, the next test is not to fail for it.
    if not is_whole(first) or not is_ready(driver, first):
        driver.kubectl("delete", "pods", _PLUGINS, _on(first), "--namespace=oauth2-csi")
        driver.roll_out("daemonset/oauth2-csi-node")


# A container that holds the lost token file system keeps it: its pod has to be replaced.
@pytest.mark.parametrize(
    ("sabotage", "running_pods_go_on"),
    [
        (unmount_tokens, False),
        (cover_tokens, True),
        (remove_the_socket, True),
        (replace_the_registry, True),
    ],
)
def test_the_node_mends_itself_and_the_other_sees_nothing(
    *,
    user: UserNamespace,
    issuer: ScriptedIssuer,
    nodes: tuple[Node, Node],
    sabotage: Callable[[Node], None],
    running_pods_go_on: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    node, other = nodes
    found = readers.start(user, issuer, nodes=[node.name, other.name])
    here = [reader for reader in found if reader.node == node.name]
    uids = [user.get("pod", reader.name)["metadata"]["uid"] for reader in here]
    sabotage(node)
    seconds = seconds_to_recovery(user, node, issuer)
    with capsys.disabled():
        print(f"\n* {sabotage.__name__}: {node.name} works again after {seconds:.1f} s")
    there = [reader for reader in found if reader not in here]
    readers.wait_for_next_token(found if running_pods_go_on else there)
    assert [r.tally() for r in there if not r.has_only_read_valid_tokens()] == []
    assert [tally for r in here if (tally := r.tally())["torn"] + tally["inode_changes"]] == []
    user.delete(*(f"pod/{reader.name}" for reader in here))
    assert [mount for uid in uids for mount in node.mounts(uid)] == []
    assert issuer.max_presentations() == 1


def seconds_to_recovery(user: UserNamespace, node: Node, issuer: ScriptedIssuer) -> float:
    """Wait until a new pod of a node has its token and the node's plugin is ready."""
    began = time.monotonic()
    until(f"{node.name} is mended", lambda: is_whole(node), _SECONDS)
    user.apply(secret("new", issuer.seed(CLIENT)), pod("new", inject("new", 0), **on(node.name)))
    user.wait_until_running("new", _SECONDS)
    until("its plugin is ready", lambda: is_ready(user.cluster, node), _SECONDS)
    seconds = time.monotonic() - began
    assert issuer.verify(user.file("new", "/tmp/oauthtk_0").content) is not None
    return seconds


def is_whole(node: Node) -> bool:
    """Return True if a registration socket is there, and a token file system that is no cover."""
    mounted = any(mount.target == _TOKENS for mount in node.mounts(_TOKENS))
    return node.path(_SOCKET).is_socket() and mounted and not node.path(_COVER).exists()


def is_ready(cluster: Cluster, node: Node) -> bool:
    """Return True if a node's plugin is ready, and kubelet knows it."""
    known = cluster.get("csinode", node.name)["spec"]["drivers"] or []
    conditions = [
        condition
        for plugin in cluster.get("pods", _PLUGINS, _on(node), "--namespace=oauth2-csi")["items"]
        for condition in plugin["status"].get("conditions", [])
    ]
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and PLUGIN in [driver["name"] for driver in known]


def _on(node: Node) -> str:
    return f"--field-selector=spec.nodeName={node.name}"
