from collections.abc import Callable, Iterator

import pytest

from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.driver_checks import (
    CSI_DRIVER,
    check_csi_driver,
    check_lease,
    check_nodes,
    check_refresher,
)
from csidriver.kubectl.doctor.finding import Finding, Level
from tests.kubectl.doctor.healthy import Manifest, daemon_set, deployment, lease, manifest
from tests.kubectl.printed import NOW
from tests.kubectl.stand_in import StandIn

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
CLEANING = daemon_set()
CLEANING["spec"]["template"]["spec"]["containers"][0]["name"] = "done"
LOGS = "kubectl logs -n oauth2-csi"
REFRESHER = "oauth2-csi-refresher"


def test_each_field_of_the_csi_driver_counts(stand_in: StandIn) -> None:
    spec = manifest("CSIDriver", "oauth2.csi.cern.ch")["spec"]
    assert spec == CSI_DRIVER
    stand_in.answer("csidriver", stdout={"spec": dict.fromkeys(CSI_DRIVER)})
    (found,) = check_csi_driver(Kubectl())
    assert found.level is PROBLEM
    assert found.message.endswith(f": {', '.join(CSI_DRIVER)}")
    assert "kubectl delete csidriver oauth2.csi.cern.ch" in found.cure


@pytest.mark.usefixtures("fixed_time")
@pytest.mark.parametrize(
    ("check", "stored", "level", "text", "cure"),
    [
        (check_nodes, daemon_set(2), WARNING, "ready on 2 of 3 nodes", "-o wide"),
        (check_nodes, daemon_set(0), PROBLEM, "none of 3 nodes", "-o wide"),
        (check_nodes, daemon_set(0, 0), PROBLEM, "no node at all", "describe daemonset"),
        (check_nodes, CLEANING, PROBLEM, "for a cleanup", "without node.cleanup"),
        (check_refresher, deployment(REFRESHER, 1), WARNING, "1 of 2", "component=refresher"),
        (check_refresher, deployment(REFRESHER, 0), PROBLEM, "no pod", "component=refresher"),
        (check_lease, lease(NOW - 40), OK, "oauth2-csi-refresher-0 holds the Lease", ""),
        (check_lease, lease(NOW - 50), PROBLEM, "was not renewed for 50s", LOGS),
        (check_lease, lease(NOW + 50), WARNING, "50s in the future", ""),
        (check_lease, lease(holder=""), PROBLEM, "no refresher holds Lease oauth2-csi/", LOGS),
        (check_lease, {"spec": {}}, PROBLEM, "no refresher holds Lease", LOGS),
    ],
)
def test_what_is_wrong_is_told_with_its_cure(
    stand_in: StandIn,
    check: Callable[[Kubectl, str], Iterator[Finding]],
    stored: Manifest,
    level: Level,
    text: str,
    cure: str,
) -> None:
    stand_in.answer(stdout=stored)
    (found,) = check(Kubectl(), "oauth2-csi")
    assert found.level is level
    assert text in found.message
    assert cure in found.cure
