import pytest

from tests.e2e.cluster import CLUSTER, Cluster


@pytest.fixture(scope="session")
def e2e(pytestconfig: pytest.Config) -> Cluster:
    return pytestconfig.stash[CLUSTER]
