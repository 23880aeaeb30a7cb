"""A short soak, by chance; `make soak` is the long one."""

import secrets
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.soak import Soak

pytestmark = pytest.mark.tools(*PROGRAMS)
SECONDS = 10.0


def test_no_kill_of_a_replica_costs_more_than_what_the_server_never_told(
    cluster: Cluster, tmp_path: Path
) -> None:
    seed = secrets.randbelow(1 << 16)
    print(f"python -m tests.cluster.soak {SECONDS} {seed}")  # noqa: T201 - shown when it fails
    with Soak(cluster, tmp_path, seed) as soak:
        report = soak.run(SECONDS)
    print(report)  # noqa: T201 - shown by pytest -rP
    assert report.violations == []
