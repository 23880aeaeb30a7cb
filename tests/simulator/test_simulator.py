import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_invariants_hold_under_faults() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulator", "32"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.splitlines()[-1].split()
    assert done.returncode == 0, f"make simulate SEEDS=32 shows it: {done.stdout}{done.stderr}"
    assert (last[0], last[4:]) == ("33", ["0", "violations"])
    assert int(last[2]) > 10_000
