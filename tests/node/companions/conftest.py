"""The cluster of the broker's tests, with one and with two brokers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.conftest import cluster
from tests.broker.fakes import FakeCluster
from tests.broker.running import RunningBroker
from tests.node.companions.nodes import ClientNode

__all__ = ["cluster"]


@pytest.fixture
def brokers(cluster: FakeCluster) -> Iterator[list[RunningBroker]]:
    with RunningBroker(cluster) as one, RunningBroker(cluster) as other:
        yield [one, other]


@pytest.fixture
def node(tmp_path: Path, brokers: list[RunningBroker]) -> Iterator[ClientNode]:
    with ClientNode(tmp_path, *brokers) as running:
        yield running
