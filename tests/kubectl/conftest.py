from pathlib import Path

import pytest

from tests.kubectl.printed import NOW
from tests.kubectl.stand_in import StandIn


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in for kubectl, which the command line finds in `KUBECTL`."""
    folder = tmp_path / "stand-in"
    folder.mkdir()
    program = StandIn(folder)
    monkeypatch.setenv("KUBECTL", str(program.path))
    return program


@pytest.fixture
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> float:
    """The time of ages in golden files."""
    monkeypatch.setattr("time.time", lambda: NOW)
    return NOW
