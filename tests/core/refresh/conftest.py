import pytest

from tests.core.refresh.virtual_cluster import Process, VirtualCluster, document


@pytest.fixture
def cluster() -> VirtualCluster:
    cluster = VirtualCluster()
    cluster.apply(document(cluster.server.login("alice")))
    return cluster


@pytest.fixture
def process(cluster: VirtualCluster) -> Process:
    return Process(cluster)


@pytest.fixture
def running(process: Process) -> Process:
    """Adopted and refreshed once; the live token is alice-1."""
    process.reconcile()
    return process
