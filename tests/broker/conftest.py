"""A cluster with a pod on each of two nodes, and a broker of it."""

from collections.abc import Iterator

import pytest

from csidriver.core.broker.pod_access import PodRef
from tests.broker.fakes import FakeCluster, companion, review
from tests.broker.running import RunningBroker

WEB = PodRef("alice", "web", "u-1")
DB = PodRef("bob", "db", "u-2")


@pytest.fixture
def cluster() -> FakeCluster:
    """Pod alice/web on node-a uses hello-token and template page; bob/db is on node-b."""
    cluster = FakeCluster()
    cluster.add_pod(WEB, "node-a", "hello-token", templateConfigMapName="page")
    cluster.add_pod(DB, "node-b", "secret-of-b")
    for node in ("a", "b"):
        cluster.reviews[f"of-{node}"] = review(f"node-{node}")
    cluster.write(companion(1))
    return cluster


@pytest.fixture
def broker(cluster: FakeCluster) -> Iterator[RunningBroker]:
    with RunningBroker(cluster) as running:
        yield running
