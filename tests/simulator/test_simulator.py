import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A run with faults and all grants, and one with many Secrets that are found together.
PRINT_TRACES = """
from tests.simulator.simulation import simulate
for seed in (15, 34):
    print(*simulate(seed).trace, sep="\\n")
"""


def traces_of_process(hash_seed: str) -> list[str]:
    """Return the traces of a process with its own order of sets and hashes."""
    return subprocess.run(  # noqa: S603 - this interpreter, our own text
        [sys.executable, "-c", PRINT_TRACES],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()


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


def test_a_trace_does_not_depend_on_the_order_of_sets() -> None:
    trace = traces_of_process("1")
    assert len(trace) > 1000
    assert traces_of_process("2") == trace
