from collections.abc import Iterator

import pytest

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from csidriver.demo.issuer import StrictIssuer
from tests.node.conftest import node, stopped_node

__all__ = ["node", "stopped_node"]


class Clock:
    """Epoch seconds that pass when told to."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def issuer() -> Iterator[StrictIssuer]:
    """A server with the client `app`."""
    with StrictIssuer(clients=[RegisteredClient("app", Sensitive("s3cret"))]) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()
