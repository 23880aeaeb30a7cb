import pytest

from tests.core.refresh.assertions import document
from tests.core.refresh.world import Process, World


@pytest.fixture
def world() -> World:
    world = World()
    world.apply(document(world.server.login("alice")))
    return world


@pytest.fixture
def process(world: World) -> Process:
    return Process(world)


@pytest.fixture
def running(process: Process) -> Process:
    """Adopted and refreshed once; the live token is alice-1."""
    process.visit()
    return process
