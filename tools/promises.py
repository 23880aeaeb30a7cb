"""Breaks each promise of the README, in a copy of the tree, and sees a test fail.

usage: python -m tools.promises [--only TEXT]
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".toml")
COPIED = ("csidriver", "tests", "deploy", "docs", "examples", "tools", "pyproject.toml")
TESTS_FAILED = 1  # of pytest's exit codes; others mean that it did not run


@dataclass(frozen=True, slots=True)
class Broken:
    """A change of one text in a file, and the tests that must not pass after it."""

    promise: str
    how: str
    file: str
    text: str
    becomes: str
    tests: list[str]


def read() -> list[Broken]:
    return [Broken(**entry) for entry in tomllib.loads(LIST.read_text())["broken"]]


def run(tree: Path, tests: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *tests], cwd=tree, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    return done.returncode


def is_caught(tree: Path, broken: Broken) -> bool:
    """Break the tree, run the tests, and mend it again."""
    file = tree / broken.file
    whole = file.read_text()
    file.write_text(whole.replace(broken.text, broken.becomes))
    try:
        return run(tree, broken.tests) == TESTS_FAILED
    finally:
        file.write_text(whole)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="entries whose description has this text")
    only = parser.parse_args().only
    entries = [broken for broken in read() if only in broken.how]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, tree / name)
        tests = sorted({test for broken in entries for test in broken.tests})
        if run(tree, tests):
            print("tests fail without a broken promise:", *tests)
            return 1
        missed = 0
        for broken in entries:
            caught = is_caught(tree, broken)
            missed += not caught
            print("caught" if caught else "MISSED", broken.how, flush=True)
    print(f"{len(entries) - missed} of {len(entries)} broken promises are caught by a test")
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
