"""A short attack of a tenant on all others; `make soak` is the long one."""

from pathlib import Path

import pytest

from csidriver.config import NodeLimits
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.tenants.measuring import Report
from tests.cluster.tenants.node_run import NodeRun, NodeScale
from tests.cluster.tenants.refresher_run import RefresherRun, Scale

pytestmark = [pytest.mark.tools(*PROGRAMS), pytest.mark.mounts]

SMALL = Scale(seconds=0.0, tokens=5, lifetime=50.0, most=30, more=5, unparsable=5)
FULL = Scale(seconds=0.0, tokens=1, lifetime=3600.0, most=1000, more=20, unparsable=60)
# All that a node may have is of one tenant.
MOST = NodeLimits().secrets_per_node
LIMITS = NodeLimits(volumes_per_namespace=MOST, secrets_per_namespace=MOST)
FULL_NODE = NodeScale(seconds=5.0, tokens=5, limits=LIMITS)


def test_a_tenant_at_his_caps_lets_no_token_of_another_expire(
    cluster: Cluster, tmp_path: Path
) -> None:
    report = Report()
    with RefresherRun(cluster, tmp_path, SMALL) as run:
        run.run(report)
    print(report)  # noqa: T201 - shown by pytest -rP
    assert report.violations == []


def test_a_tenant_with_all_that_is_allowed_ends_no_refresher(
    cluster: Cluster, tmp_path: Path
) -> None:
    with RefresherRun(cluster, tmp_path, FULL) as run:
        run.begin()
        run.start_again()


def test_a_node_with_all_that_is_allowed_survives_and_serves(
    cluster: Cluster, tmp_path: Path
) -> None:
    report = Report()
    with NodeRun(cluster.plane, tmp_path, FULL_NODE) as run:
        run.run(report)
    print(report)  # noqa: T201 - shown by pytest -rP
    assert report.violations == []
