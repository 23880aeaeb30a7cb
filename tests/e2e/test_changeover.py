"""Refresher and node plugins change while pods on both nodes read one token, which lives 40 s."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import readers
from tests.e2e.cluster import Cluster, until
from tests.e2e.readers import Reader
from tests.e2e.user_namespace import new_user_namespace
from tests.issuer.issuer import ScriptedIssuer

_NAMESPACE = "--namespace=oauth2-csi"
_LEASE_SECONDS = 15


@pytest.fixture(scope="module")
def both(driver: Cluster, steady_issuer: ScriptedIssuer) -> Iterator[list[Reader]]:
    """Readers on each node."""
    user = new_user_namespace(driver, "both-nodes")
    yield readers.start(user, steady_issuer, named="steady", nodes=driver.own.node_names)
    driver.kubectl("delete", "namespace", user.name, "--wait=false")


@pytest.fixture
def seen(both: list[Reader], steady_issuer: ScriptedIssuer) -> Iterator[None]:
    """After the test all readers get one more token, and none of them had a bad read."""
    yield
    readers.wait_for_next_token(both)
    assert [reader.tally() for reader in both if not reader.has_only_read_valid_tokens()] == []
    assert steady_issuer.max_presentations() == 1


@pytest.mark.usefixtures("seen")
def test_a_rollout_of_the_node_plugin(driver: Cluster) -> None:
    driver.kubectl("rollout", "restart", "daemonset/oauth2-csi-node", _NAMESPACE)
    driver.roll_out("daemonset/oauth2-csi-node")


@pytest.mark.usefixtures("seen")
def test_a_deleted_refresher_hands_over_to_the_other_node(driver: Cluster) -> None:
    leader = until("a refresher works", lambda: leader_of(driver))
    name = leader["metadata"]["name"]
    driver.kubectl("delete", "pod", name, _NAMESPACE, "--wait=false")
    assert takeover(driver, leader) < _LEASE_SECONDS, "the Lease was released"
    driver.roll_out("deployment/oauth2-csi-refresher")


@pytest.mark.usefixtures("seen")
def test_a_refresher_that_dies_with_its_kubelet_is_replaced_on_the_other_node(
    driver: Cluster,
) -> None:
    leader = until("a refresher works", lambda: leader_of(driver))
    node = driver.own.node(leader["spec"]["nodeName"])
    # kubelet would start it again, on the same node.
    node.kill("kubelet")
    try:
        assert node.kill_processes("oauth2-csi\0refresher\0") > 0
        assert takeover(driver, leader) < 2 * _LEASE_SECONDS
    finally:
        node.start_kubelet_again()
    driver.roll_out("deployment/oauth2-csi-refresher")


def leader_of(cluster: Cluster) -> dict[str, Any] | None:
    """Return the pod that holds the Lease."""
    lease = cluster.get("lease", "oauth2-csi-refresher", _NAMESPACE)
    holder = lease["spec"].get("holderIdentity", "")
    pods = cluster.get("pods", _NAMESPACE)["items"]
    return next((pod for pod in pods if holder.startswith(pod["metadata"]["uid"])), None)


def takeover(cluster: Cluster, before: dict[str, Any]) -> float:
    """Wait until a pod on another node holds the Lease; return the seconds that it took."""
    began = time.monotonic()

    def has_moved() -> bool:
        leader = leader_of(cluster)
        return bool(leader and leader["spec"]["nodeName"] != before["spec"]["nodeName"])

    until("a refresher on the other node works", has_moved)
    return time.monotonic() - began
