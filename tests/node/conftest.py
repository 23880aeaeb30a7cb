from collections.abc import Iterator

import pytest

from tests.node.plugin import Node


@pytest.fixture
def stopped_node() -> Iterator[Node]:
    """A node whose plugin has not been started."""
    node = Node()
    try:
        yield node
    finally:
        node.close()


@pytest.fixture
def node(stopped_node: Node) -> Node:
    """A node with a running plugin."""
    stopped_node.start()
    return stopped_node
