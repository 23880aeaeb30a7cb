"""Fixtures of the suite that `make e2e` runs; session.py makes the cluster."""

import pytest

from tests.e2e.cluster import CLUSTER, Cluster


@pytest.fixture(scope="session")
def e2e(pytestconfig: pytest.Config) -> Cluster:
    """The cluster."""
    return pytestconfig.stash[CLUSTER]
