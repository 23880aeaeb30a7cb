import os
import subprocess
import sys
from pathlib import Path

from tests.simulator.herd import herd
from tests.simulator.scenario import simulate


def test_invariants_hold_under_faults() -> None:
    """In a process of its own: the order of a set is a part of the story."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulator", "32"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.splitlines()[-1].split()
    assert done.returncode == 0, f"make simulate SEEDS=32 shows it: {done.stdout}{done.stderr}"
    assert (last[0], last[4:]) == ("33", ["0", "violations"])
    assert int(last[2]) > 10_000


def test_a_seed_always_tells_the_same_story() -> None:
    assert simulate(7).trace == simulate(7).trace


def test_a_herd_is_spread_and_served() -> None:
    sent, violations = herd()
    assert sent == 10_000
    assert not violations
