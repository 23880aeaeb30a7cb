from typing import Any

import pytest

from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.driver_checks import (
    CSI_DRIVER,
    check_csi_driver,
    check_lease,
    check_nodes,
    check_refresher,
)
from csidriver.kubectl.doctor.finding import Level
from tests.kubectl.doctor.healthy import daemon_set, deployment, lease, manifest
from tests.kubectl.printed import NOW
from tests.kubectl.stand_in import StandIn

NAMESPACE = "oauth2-csi"
OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
pytestmark = pytest.mark.usefixtures("healthy")


def test_the_chart_has_what_the_driver_needs() -> None:
    spec = manifest("CSIDriver", "oauth2.csi.cern.ch")["spec"]
    assert spec == CSI_DRIVER


@pytest.mark.parametrize("field", CSI_DRIVER)
def test_each_field_of_the_csi_driver_counts(stand_in: StandIn, field: str) -> None:
    (found,) = check_csi_driver(Kubectl())
    assert found.level is OK
    spec = {**CSI_DRIVER, field: None}
    stand_in.answer("csidriver", stdout={"spec": spec})
    (found,) = check_csi_driver(Kubectl())
    assert found.level is PROBLEM
    assert found.message.endswith(f": {field}")
    assert "kubectl delete csidriver oauth2.csi.cern.ch" in found.cure


@pytest.mark.parametrize(
    ("ready", "wanted", "level", "text"),
    [
        (3, 3, OK, "all of 3 nodes"),
        (2, 3, WARNING, "ready on 2 of 3 nodes"),
        (0, 3, PROBLEM, "none of 3 nodes"),
        (0, 0, PROBLEM, "no node at all"),
    ],
)
def test_nodes_are_counted(
    stand_in: StandIn, ready: int, wanted: int, level: Level, text: str
) -> None:
    stand_in.answer("daemonset", stdout=daemon_set(ready, wanted))
    (found,) = check_nodes(Kubectl(), NAMESPACE)
    assert found.level is level
    assert text in found.message
    assert (found.cure != "") == (level is not OK)


def test_a_cleanup_is_a_problem(stand_in: StandIn) -> None:
    cleaning = daemon_set()
    cleaning["spec"]["template"]["spec"]["containers"][0]["name"] = "done"
    stand_in.answer("daemonset", stdout=cleaning)
    (found,) = check_nodes(Kubectl(), NAMESPACE)
    assert (found.level, found.cure) == (PROBLEM, "install the driver again, without node.cleanup")


@pytest.mark.parametrize(("ready", "level"), [(2, OK), (1, WARNING), (0, PROBLEM)])
def test_pods_of_the_refresher_are_counted(stand_in: StandIn, ready: int, level: Level) -> None:
    stand_in.answer("deployment", stdout=deployment("oauth2-csi-refresher", ready))
    (found,) = check_refresher(Kubectl(), NAMESPACE)
    assert found.level is level
    assert ("component=refresher" in found.cure) == (level is not OK)


@pytest.mark.parametrize(
    ("stored", "level", "text"),
    [
        (lease(), OK, "oauth2-csi-refresher-0 holds the Lease"),
        (lease(NOW - 40), OK, "holds the Lease"),
        (lease(NOW - 50), PROBLEM, "was not renewed for 50s"),
        (lease(NOW + 50), WARNING, "50s in the future"),
        (lease(holder=""), PROBLEM, "no refresher holds Lease oauth2-csi/oauth2-csi-refresher"),
        ({"spec": {}}, PROBLEM, "no refresher holds Lease"),
    ],
)
def test_a_lease_is_held_and_renewed(
    stand_in: StandIn, stored: dict[str, Any], level: Level, text: str
) -> None:
    stand_in.answer("lease", stdout=stored)
    (found,) = check_lease(Kubectl(), NAMESPACE)
    assert found.level is level
    assert text in found.message
    assert ("kubectl logs -n oauth2-csi" in found.cure) == (level is PROBLEM)
