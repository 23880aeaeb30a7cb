"""A running server, as a fixture."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from tests.webhook.fakes import FakeClock, FakeConfiguration
from tests.webhook.rig import Rig, ship_empty
from tests.webhook.served import Served, serving


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    made = DirectoryStore(tmp_path)
    ship_empty(made)
    return made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(int(time.time())))


@pytest.fixture
def configuration() -> FakeConfiguration:
    return FakeConfiguration("", "")


@pytest.fixture
def rig(store: DirectoryStore, clock: FakeClock, configuration: FakeConfiguration) -> Rig:
    return Rig(store, clock, configuration)
