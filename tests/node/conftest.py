import contextlib
from collections.abc import Iterator

import pytest

from tests.node.killable_plugin import ForkServer
from tests.node.plugin import Node


@pytest.fixture
def stopped_node() -> Iterator[Node]:
    """A node whose plugin has not been started."""
    with contextlib.closing(Node()) as node:
        yield node


@pytest.fixture
def node(stopped_node: Node) -> Node:
    """A node with a running plugin."""
    stopped_node.start()
    return stopped_node


@pytest.fixture(scope="module")
def shared_node() -> Iterator[Node]:
    """One plugin for all requests that must change nothing."""
    with contextlib.closing(Node()) as node:
        node.start(publish_wait=0.05)
        node.write_token("at-1")
        yield node


@pytest.fixture
def published(node: Node) -> Node:
    """A node with one published volume."""
    node.write_token("at-1")
    node.publish(node.request())
    return node


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    with ForkServer() as fork_server:
        yield fork_server
