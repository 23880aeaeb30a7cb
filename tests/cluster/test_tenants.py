"""A short attack of a tenant on all others; `make soak` is the long one."""

from pathlib import Path

import pytest

from csidriver.config import NodeLimits
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.tenants.node_run import NodeRun, NodeScale
from tests.cluster.tenants.refresher_run import RefresherRun, Scale
from tests.cluster.tenants.report import Report

pytestmark = [pytest.mark.tools(*PROGRAMS), pytest.mark.mounts]

SMALL = Scale(seconds=0.0, tokens=5, lifetime=50.0, most=30, more=5, unparsable=5)
LIMITS = NodeLimits(volumes_per_pod=8, volumes_per_namespace=40, secrets_per_namespace=20)
SMALL_NODE = NodeScale(seconds=5.0, tokens=5, limits=LIMITS, held=10)


def test_a_tenant_at_his_caps_lets_no_token_of_another_expire(
    cluster: Cluster, tmp_path: Path
) -> None:
    report = Report()
    with RefresherRun(cluster, tmp_path, SMALL, print) as run:
        run.run(report)
    print(report)  # noqa: T201 - shown by pytest -rP
    assert report.violations == []


def test_a_pod_at_its_caps_freezes_no_token_file_of_another(
    cluster: Cluster, tmp_path: Path
) -> None:
    report = Report()
    with NodeRun(cluster.plane, tmp_path, SMALL_NODE, print) as run:
        run.run(report)
    print(report)  # noqa: T201 - shown by pytest -rP
    assert report.violations == []
