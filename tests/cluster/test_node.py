"""The node at a broker and a real API server: they serve, stop, die, freeze, deny."""

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator

import grpc
import pytest

from csidriver.core.companion import Companion
from tests.cluster.controlplane import ControlPlane
from tests.cluster.noderole import DRIVER, TOKENS, ClusterNode, NodeRole
from tests.node.plugin import NAMESPACE, SOURCE, companion, eventually, token

pytestmark = [pytest.mark.tools("etcd", "kube-apiserver", "kubectl"), pytest.mark.mounts]

# Pauses of the broker between two attempts are up to 30 s after some failures.
BACK = 40.0
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def role(
    fragile_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeRole]:
    with contextlib.closing(NodeRole(fragile_plane, tmp_path_factory.mktemp("role"))) as role:
        yield role


@pytest.fixture
def node(role: NodeRole) -> Iterator[ClusterNode]:
    """A running plugin with one published volume."""
    volumes = SOURCE.name, "other"
    new = ClusterNode(role, NAMESPACE, *volumes, templateConfigMapName="page")
    with contextlib.closing(new) as node:
        write(node, companion(token("at-1"), source_uid=f"uid-{secrets.token_hex(4)}"))
        node.start()
        node.publish_as_kubelet(node.request())
        assert node.content() == "at-1"
        yield node


def write(node: ClusterNode, new: Companion) -> None:
    node.role.write_companion(new, SOURCE)


def rotates(node: ClusterNode, value: str, *volumes: str) -> None:
    """A new source's token reaches the files: generations begin anew."""
    write(node, companion(token(value), source_uid=f"uid-{secrets.token_hex(4)}"))
    for volume in volumes:
        eventually(lambda volume=volume: node.content(volume) == value, "rotation", BACK)  # type: ignore[misc]


def test_a_volume_is_published_rotated_and_unpublished(node: ClusterNode) -> None:
    inode = node.file().stat().st_ino
    rotates(node, "at-2", "v1")
    node.publish(node.request())
    assert (node.content(), node.file().stat().st_ino) == ("at-2", inode)
    node.role.plane.kubectl("delete", "secret", SOURCE.companion, f"--namespace={TOKENS}")
    node.publish(node.request())
    assert node.content() == "at-2"
    rotates(node, "at-3", "v1")
    node.unpublish()
    eventually(node.nothing_left, "the end of all")


def test_a_template_comes_from_a_config_map(node: ClusterNode) -> None:
    request = node.request("v2", {"templateConfigMapName": "page"})
    code, text = node.refused(request)
    assert code is Code.NOT_FOUND
    assert "ConfigMap alice/page" in text
    page = "--from-literal=template=Bearer $(ACCESS_TOKEN)"
    node.role.plane.kubectl("create", "configmap", "page", page, "--namespace=alice")
    node.publish(request)
    assert node.content("v2") == "Bearer at-1"


def test_volumes_outlive_an_outage_of_the_api_server_and_a_restart_within_it(
    node: ClusterNode,
) -> None:
    node.role.plane.stop_api_server(kill=True)
    node.publish(node.request())
    node.publish(node.request("v2"))
    assert node.content("v2") == "at-1"
    assert_unavailable(node, "v3", "other")
    node.stop()
    assert node.content() == "at-1"
    node.start()
    node.publish(node.request())
    assert (node.content(), node.content("v2")) == ("at-1", "at-1")
    assert_unavailable(node, "v4", SOURCE.name)
    node.role.plane.start_api_server()
    rotates(node, "at-2", "v1", "v2")
    node.publish(node.request("v4"))
    assert node.content("v4") == "at-2"


def test_volumes_outlive_an_outage_of_the_broker(node: ClusterNode) -> None:
    node.role.broker.stop(kill=True)
    node.publish(node.request())
    node.publish(node.request("v2"))
    assert_unavailable(node, "v3", "other")
    write(node, companion(token("at-2"), source_uid="uid-in-an-outage"))
    node.role.broker.start()
    eventually(lambda: node.content() == node.content("v2") == "at-2", "rotation", BACK)
    rotates(node, "at-3", "v1", "v2")


def assert_unavailable(node: ClusterNode, volume: str, secret: str, *reasons: str) -> None:
    """Expect that kubelet is refused, and told a reason as soon as a broker has said one."""
    expected = reasons or (f"API server {node.role.plane.server}", "no broker of")

    def is_told() -> bool:
        code, text = node.refused(node.request(volume, {"secretName": secret}))
        assert code is Code.UNAVAILABLE
        return any(reason in text for reason in expected)

    eventually(is_told, "the reason", BACK)


def test_changes_arrive_after_the_api_server_was_stopped_in_order(node: ClusterNode) -> None:
    node.role.plane.stop_api_server()
    node.publish(node.request())
    node.role.plane.start_api_server()
    rotates(node, "at-2", "v1")


def test_a_token_that_was_revoked_is_replaced_by_the_next_one(node: ClusterNode) -> None:
    plane = node.role.plane
    plane.kubectl("delete", "pod", "plugin-node-1", "--force", f"--namespace={DRIVER}")
    # The server remembers for some seconds whom it has accepted.
    plane.stop_api_server(kill=True)
    plane.start_api_server()
    node.stop()
    node.start()
    assert_unavailable(node, "v2", "other", "token_refused")
    node.publish(node.request())
    assert node.content() == "at-1"
    node.role.renew()
    rotates(node, "at-2", "v1")


def test_a_new_authority_is_read_at_the_next_connection(node: ClusterNode) -> None:
    broker = node.role.broker
    broker.stop()
    former = broker.authorities.read_text("ascii")
    broker.renew_certificate()
    newer = broker.authorities.read_text("ascii")
    broker.authorities.write_text(former, encoding="ascii")
    broker.start()
    assert_unavailable(node, "v2", "other")
    broker.authorities.write_text(newer, encoding="ascii")
    rotates(node, "at-2", "v1")


def test_a_frozen_broker_is_noticed(node: ClusterNode) -> None:
    """Its kernel still acknowledges what is sent to it: only patience ends this."""
    broker = node.role.broker
    os.kill(broker.pid, signal.SIGSTOP)
    assert_unavailable(node, "v2", "other", "no broker of")
    broker.stop(kill=True)
    broker.start()
    rotates(node, "at-2", "v1")
