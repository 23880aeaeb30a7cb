"""The node at a broker and a real API server: the broker freezes."""

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.cluster.controlplane import ControlPlane
from tests.cluster.limited_node import LimitedNode
from tests.cluster.noderole import NodeRole
from tests.node.plugin import NAMESPACE, SOURCE, companion, token
from tests.waiting import until

pytestmark = [pytest.mark.tools("etcd", "kube-apiserver", "kubectl"), pytest.mark.mounts]

# Pauses of the broker between two attempts are up to 30 s after some failures.
BACK = 40.0


@pytest.fixture
def node(control_plane: ControlPlane, tmp_path: Path) -> Iterator[LimitedNode]:
    with (
        contextlib.closing(NodeRole(control_plane, tmp_path)) as role,
        contextlib.closing(LimitedNode(role, (), "--publish-wait=2")) as node,
    ):
        node.pod = role.create_pod(NAMESPACE, SOURCE.name, "other")
        write(node, "at-1")
        node.start()
        until(lambda: is_published(node), "a publish", BACK)
        assert node.content() == "at-1"
        yield node


def is_published(node: LimitedNode) -> bool:
    try:
        node.publish(node.request())
    except grpc.RpcError:
        return False
    return True


def write(node: LimitedNode, value: str) -> None:
    """Write a new source's token: generations begin anew."""
    made = companion(token(value), source_uid=f"uid-{secrets.token_hex(4)}")
    node.role.write_companion(made, SOURCE)


def test_a_frozen_broker_is_noticed(node: LimitedNode) -> None:
    """Its kernel still acknowledges what is sent to it: only patience ends this."""
    broker = node.role.broker
    os.kill(broker.pid, signal.SIGSTOP)

    def is_told() -> bool:
        code, text = node.refused(node.request("v2", {"secretName": "other"}))
        assert code is grpc.StatusCode.UNAVAILABLE
        return "no broker of" in text

    until(is_told, "the reason", BACK)
    broker.close()
    broker.start()
    write(node, "at-2")
    until(lambda: node.content() == "at-2", "rotation", BACK)
