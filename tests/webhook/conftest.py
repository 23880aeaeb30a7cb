"""A running server, as a fixture."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from tests.webhook.rig import FakeClock, FakeConfiguration, Rig
from tests.webhook.served import Served, serving


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as found:
        yield found


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(
        DirectoryStore(tmp_path), FakeConfiguration("", ""), FakeClock(float(int(time.time())))
    )
    made.ship_empty()
    return made
