import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import metrics_of, running

PROGRAM = """
import ctypes, os, signal, sys
from csidriver.adapters import core_dumps
if "forbid" in sys.argv:
    core_dumps.forbid()
print(ctypes.CDLL(None).prctl(3), flush=True)  # PR_GET_DUMPABLE
os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.mark.parametrize(("argument", "dumpable"), [("forbid", b"0"), ("allow", b"1")])
def test_a_process_that_crashes_dumps_no_core(
    tmp_path: Path, argument: str, dumpable: bytes
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    program = subprocess.run(  # noqa: S603 - this interpreter, our own text
        [sys.executable, "-c", PROGRAM, argument],
        check=False,
        capture_output=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )
    assert program.returncode == -signal.SIGSEGV
    assert program.stdout.split() == [dumpable]


def test_every_role_forbids_it(tmp_path: Path) -> None:
    flags = [f"--store=dir:{tmp_path / 'store'}", f"--spool-dir={tmp_path / 'spool'}"]
    flags += [f"--issuers={tmp_path}", "--listen=127.0.0.1:0"]
    with running("refresher", *flags) as (process, log):
        metrics_of(log)
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii")
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
