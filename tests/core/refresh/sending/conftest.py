import pytest

from tests.core.refresh.virtual_cluster import VirtualCluster


@pytest.fixture
def cluster() -> VirtualCluster:
    return VirtualCluster()
