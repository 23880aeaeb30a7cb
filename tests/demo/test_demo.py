"""The demo as a newcomer runs it: a process with an exit status, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.browser import open_form

pytestmark = pytest.mark.mounts
ROOT = Path(__file__).parents[2]
# Seconds; bounds a demo that hangs, also on a loaded machine.
TIMEOUT = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    """The demo's TMPDIR, empty before and after: short, for its sockets."""
    path = Path("/tmp") / f"t{os.getpid()}"  # tmp_path is too long for sockets
    path.mkdir()
    yield path
    path.rmdir()


def start(folder: Path, *flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "csidriver", "demo", "--json", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,
    )


def session_is_over(process: "subprocess.Popen[str]", folder: Path) -> bool:
    """Return True if no process uses the demo's folder."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in place.read_bytes():
                return False
        except OSError:
            continue
    return process.poll() is not None


def test_the_demo_keeps_its_promises_while_the_secret_is_reapplied(folder: Path) -> None:
    process = start(folder, "--seconds", "8", "--lifetime", "6", "--chaos", "reapply")
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output
    result = json.loads(output.splitlines()[-1])
    assert result["refreshes"] >= 2
    assert result["rewrites"] >= 2
    assert result["reads"] > 1_000
    assert (result["torn_reads"], result["expired_reads"], result["inode_changes"]) == (0, 0, 0)
    assert result["max_presentations_per_refresh_token"] == 1
    assert session_is_over(process, folder)


def test_the_demo_begins_with_a_login_when_asked(folder: Path) -> None:
    process = start(folder, "--seconds", "8", "--lifetime", "6", "--login")
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "?user_code=" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert process.poll() is None, lines
    assert any("without a terminal" in line for line in lines)
    assert not any("is Ready" in line for line in lines)
    open_form(lines[-1].strip()).press("allow")
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output
    assert "* the login is done: Secret default/hello-token is Ready" in output
    result = json.loads(output.splitlines()[-1])
    assert result["refreshes"] >= 1
    assert result["max_presentations_per_refresh_token"] == 1


@pytest.mark.parametrize("milestone", ["", "bad reads: 0"], ids=["start", "reading"])
def test_ctrl_c_leaves_no_process_and_no_folder(folder: Path, milestone: str) -> None:
    process = start(folder)
    assert process.stdout is not None
    if milestone:
        while milestone not in process.stdout.readline():
            assert process.poll() is None
    else:
        deadline = time.monotonic() + TIMEOUT
        while not any(folder.iterdir()):
            assert time.monotonic() < deadline
    # As a terminal does it: to the whole foreground group, and some people press it twice.
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert session_is_over(process, folder)
    assert not any(folder.iterdir())
