import pytest

from tests.node.conftest import node, stopped_node

__all__ = ["node", "stopped_node"]


class Clock:
    """Epoch seconds that pass when told to."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()
