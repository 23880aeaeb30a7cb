from collections.abc import Iterator

import pytest

from tests.node.plugin import Node


@pytest.fixture
def fresh() -> Iterator[Node]:
    """A node whose plugin has not been started."""
    node = Node()
    try:
        yield node
    finally:
        node.close()


@pytest.fixture
def node(fresh: Node) -> Node:
    """A node with a running plugin."""
    fresh.start()
    return fresh
