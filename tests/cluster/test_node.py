"""The node at a broker and a real API server: they serve, stop, freeze."""

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from csidriver.core.companion import Companion
from tests.cluster.controlplane import ControlPlane
from tests.cluster.limited_node import LimitedNode
from tests.cluster.noderole import NodeRole
from tests.node.plugin import NAMESPACE, SOURCE, companion, eventually, token

pytestmark = [pytest.mark.tools("etcd", "kube-apiserver", "kubectl"), pytest.mark.mounts]

# Pauses of the broker between two attempts are up to 30 s after some failures.
BACK = 40.0
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def role(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeRole]:
    with contextlib.closing(NodeRole(control_plane, tmp_path_factory.mktemp("role"))) as role:
        yield role


@pytest.fixture
def node(role: NodeRole) -> Iterator[LimitedNode]:
    """A running plugin with one published volume."""
    with contextlib.closing(LimitedNode(role, (), "--publish-wait=2")) as node:
        node.pod = role.create_pod(NAMESPACE, SOURCE.name, "other")
        write(node, companion(token("at-1"), source_uid=f"uid-{secrets.token_hex(4)}"))
        node.start()
        eventually(lambda: is_published(node, node.request()), "a publish", BACK)
        assert node.content() == "at-1"
        yield node


def is_published(node: LimitedNode, request: Any) -> bool:
    """Return True if a broker has answered in time."""
    try:
        node.publish(request)
    except grpc.RpcError:
        return False
    return True


def write(node: LimitedNode, new: Companion) -> None:
    node.role.write_companion(new, SOURCE)


def rotates(node: LimitedNode, value: str, *volumes: str) -> None:
    """A new source's token reaches the files: generations begin anew."""
    write(node, companion(token(value), source_uid=f"uid-{secrets.token_hex(4)}"))
    for volume in volumes:
        eventually(lambda volume=volume: node.content(volume) == value, "rotation", BACK)  # type: ignore[misc]


def test_volumes_outlive_an_outage_of_the_api_server_and_a_restart_within_it(
    node: LimitedNode,
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


def assert_unavailable(node: LimitedNode, volume: str, secret: str) -> None:
    """Expect that kubelet is refused, and told a reason as soon as a broker has said one."""
    expected = (f"API server {node.role.plane.server}", "no broker of")

    def is_told() -> bool:
        code, text = node.refused(node.request(volume, {"secretName": secret}))
        assert code is Code.UNAVAILABLE
        return any(reason in text for reason in expected)

    eventually(is_told, "the reason", BACK)


def test_a_frozen_broker_is_noticed(node: LimitedNode) -> None:
    """Its kernel still acknowledges what is sent to it: only patience ends this."""
    broker = node.role.broker
    os.kill(broker.pid, signal.SIGSTOP)
    assert_unavailable(node, "v2", "other")
    broker.stop(kill=True)
    broker.start()
    rotates(node, "at-2", "v1")
