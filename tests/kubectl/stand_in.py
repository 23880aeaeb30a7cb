"""A stand-in for kubectl: a real program that records its calls and gives prepared answers."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from csidriver.kubectl.main import main

_PROGRAM = """#!{python} -IS
import json, pathlib, sys
here = pathlib.Path(__file__).parent
reads = [word for word in sys.argv if word in ("--filename=-", "--patch-file=/dev/stdin")]
call = {{"words": sys.argv[1:], "body": sys.stdin.read() if reads else ""}}
with open(here / "calls", "a") as calls:
    calls.write(json.dumps(call) + "\\n")
for answer in json.loads((here / "answers").read_text()):
    if all(word in sys.argv for word in answer["words"]):
        sys.stdout.write(answer["stdout"])
        sys.stderr.write(answer["stderr"])
        sys.exit(answer["status"])
sys.exit("error: the stand-in has no answer")
"""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the stand-in."""

    words: list[str]
    body: str


class StandIn:
    """A program in a folder. The last matching answer that was prepared counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers: list[dict[str, Any]] = []
        self.path = folder / "kubectl"
        self.path.write_text(_PROGRAM.format(python=sys.executable))
        self.path.chmod(0o755)
        self._save()

    def answer(self, *words: str, stdout: Any = "", stderr: str = "", status: int = 0) -> None:
        """Answer calls with all these words; `stdout` is a text, or becomes JSON."""
        text = stdout if isinstance(stdout, str) else json.dumps(stdout)
        answer = {"words": words, "stdout": text, "stderr": stderr, "status": status}
        self._answers.insert(0, answer)
        self._save()

    @property
    def calls(self) -> list[Call]:
        record = self._folder / "calls"
        lines = record.read_text().splitlines() if record.exists() else []
        return [Call(**json.loads(line)) for line in lines]

    def _save(self) -> None:
        # A call that runs meanwhile reads the old answers, or the new ones.
        new = self._folder / "new-answers"
        new.write_text(json.dumps(self._answers))
        new.replace(self._folder / "answers")


class CommandLine:
    """`kubectl oauth2-csi` in the cluster that a stand-in plays."""

    def __init__(self, cluster: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
        self.cluster = cluster
        self._capsys = capsys

    def run(self, *words: str, status: int = 0) -> tuple[str, str]:
        """Return what it prints as results, and else."""
        assert main(words) == status
        out, err = self._capsys.readouterr()
        return out, err
