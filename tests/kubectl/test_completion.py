import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from csidriver.kubectl.main import COMMANDS, main
from tests.kubectl.printed import ROBOT, Capture, secret
from tests.kubectl.stand_in import StandIn


def candidates(capsys: Capture, *words: str) -> list[str]:
    assert main(["__complete", *words]) == 0
    *found, directive = capsys.readouterr().out.splitlines()
    assert directive == ":4"
    return found


def test_names_of_tokens_are_completed(stand_in: StandIn, capsys: Capture) -> None:
    tokens = secret("team-a", "mail") + secret("team-a", "x", {}) + secret("team-a", "minutes")
    stand_in.answer("secrets", stdout=tokens + secret("team-a", "robot", ROBOT))
    assert candidates(capsys, "-n", "team-a", "describe", "m") == ["mail", "minutes"]
    assert "--namespace=team-a" in stand_in.calls[0].words
    assert candidates(capsys, "status", "--context=c", "-o", "wide", "ma") == ["mail"]
    assert "--context=c" in stand_in.calls[1].words
    assert candidates(capsys, "refresh", "") == ["mail", "minutes", "robot"]
    assert candidates(capsys, "login", "") == ["mail", "minutes"], "a robot needs none"
    stand_in.answer(stderr="Unable to connect\n", status=1)
    assert candidates(capsys, "describe", "") == []


def test_names_of_issuers_are_completed(stand_in: StandIn, capsys: Capture) -> None:
    entries = [{"name": name, "issuer": "https://auth.example"} for name in ("cern", "other")]
    data = {"issuers.json": json.dumps({"issuers": entries})}
    stand_in.answer("configmap", "--namespace=oauth2-csi", stdout={"data": data})
    assert candidates(capsys, "doctor", "") == ["cern", "other"]
    stand_in.answer("configmap", "--namespace=elsewhere", stdout={"data": data})
    assert candidates(capsys, "doctor", "--driver-namespace", "elsewhere", "c") == ["cern"]


def test_words_that_need_no_cluster_are_completed(stand_in: StandIn, capsys: Capture) -> None:
    assert candidates(capsys, "") == list(COMMANDS)
    assert candidates(capsys, "desc") == ["describe"]
    stand_in.answer("namespaces", stdout="namespace/team-a\nnamespace/team-b\n")
    assert candidates(capsys, "status", "--no") == ["--no-headers"]
    assert candidates(capsys, "status", "-o", "") == ["wide", "json", "yaml", "name"]
    assert candidates(capsys, "status", "-n", "team") == ["team-a", "team-b"]
    assert candidates(capsys, "completion", "z") == ["zsh"]
    assert candidates(capsys, "status", "--context", "") == []


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_a_shell_understands_its_script(capsys: Capture, tmp_path: Path, shell: str) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "kubectl-oauth2_csi" in script
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([program, "-n", str(tmp_path / "script")], check=True)  # noqa: S603


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    program = tmp_path / "kubectl-oauth2_csi"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m csidriver.kubectl "$@"\n')
    program.chmod(0o755)
    script = (
        f"source <({program} completion bash)\n"
        f"COMP_WORDS=({program} stat) COMP_CWORD=1\n"
        '_kubectl_oauth2_csi; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    assert subprocess.check_output(["bash", "-c", script]) == b"status\n"  # noqa: S603, S607
