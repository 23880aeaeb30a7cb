"""Parts of the driver and of the cluster fail while pods read tokens that live 300 s.

The witnesses began before the other tests and read on until here: none of them ever read a token
that was torn or expired, whatever happened. After each failure a new pod gets its token.
"""

import time
from collections.abc import Iterator

import pytest

from tests.e2e import controllers
from tests.e2e.cluster import Cluster, until
from tests.e2e.readers import Reader, wait_for_next_token
from tests.e2e.user_namespace import CLIENT, UserNamespace, inject, on, pod, secret
from tests.issuer.issuer import ScriptedIssuer

_NAMESPACE = "--namespace=oauth2-csi"


def roll_out(cluster: Cluster) -> None:
    deployments = cluster.names("deployments", _NAMESPACE)
    cluster.roll_out("daemonset/oauth2-csi-node", *deployments)


@pytest.fixture
def works(user: UserNamespace, issuer: ScriptedIssuer, witnesses: list[Reader]) -> Iterator[None]:
    """After the test, the driver does for new pods what it should, and did for the witnesses."""
    yield
    roll_out(user.cluster)
    user.apply(secret("mine", issuer.seed(CLIENT)))
    nodes = user.cluster.own.node_names
    pods = [pod(node, inject("mine", 0), **on(node)) for node in nodes]
    until("the webhook takes pods", lambda: user.try_apply(*pods))
    for node in nodes:
        user.wait_until_running(node)
        assert issuer.verify(user.file(node, "/tmp/oauthtk_0").content) is not None
    assert all(reader.has_only_read_valid_tokens() for reader in witnesses)


@pytest.mark.usefixtures("works")
def test_all_pods_of_the_driver_are_replaced(driver: Cluster) -> None:
    driver.kubectl("rollout", "restart", "daemonset,deployment", _NAMESPACE)
    roll_out(driver)


@pytest.mark.usefixtures("works")
def test_all_processes_of_the_driver_are_killed(driver: Cluster) -> None:
    for role in ("refresher", "broker", "webhook", "node"):
        assert all(node.kill_processes(f"oauth2-csi\0{role}\0") for node in driver.own.nodes)


@pytest.mark.usefixtures("works")
def test_kubelet_is_killed_and_starts_again(driver: Cluster) -> None:
    for node in driver.own.nodes:
        node.restart_kubelet()
    until("kubelet has registered the plugin", lambda: driver.get("csinodes")["items"])


@pytest.mark.usefixtures("works")
def test_the_api_server_is_away_for_a_minute(driver: Cluster) -> None:
    # kubelet looks again up to a minute later.
    driver.own.plane.stop_api_server(kill=True)
    time.sleep(60)  # an outage takes its time
    driver.own.plane.start_api_server()
    # Elsewhere they have lost their Leases by now, and were started again.
    controllers.start(driver.own.plane)


def test_the_witnesses_get_new_tokens_after_it_all_and_none_was_presented_twice(
    witnesses: list[Reader], issuer: ScriptedIssuer, slow_issuer: ScriptedIssuer
) -> None:
    wait_for_next_token(witnesses, seconds=240)
    assert all(reader.has_only_read_valid_tokens() for reader in witnesses)
    assert issuer.max_presentations() == slow_issuer.max_presentations() == 1
