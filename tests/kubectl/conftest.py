from pathlib import Path

import pytest

from tests.kubectl.printed import NOW, Capture
from tests.kubectl.stand_in import CommandLine, StandIn


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in for kubectl, which the command line finds in `KUBECTL`; it is in team-a."""
    folder = tmp_path / "stand-in"
    folder.mkdir()
    program = StandIn(folder)
    program.answer("config", stdout="team-a")
    monkeypatch.setenv("KUBECTL", str(program.path))
    return program


@pytest.fixture
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> float:
    """The time of ages in golden files."""
    monkeypatch.setattr("time.time", lambda: NOW)
    return NOW


@pytest.fixture
def cli(stand_in: StandIn, fixed_time: float, capsys: Capture) -> CommandLine:  # noqa: ARG001 - sets the time
    return CommandLine(stand_in, capsys)
