"""The parts of every step of `make tools`: run a command, fill a folder, rename it."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


class Failed(Exception):
    """A program could not be had; the text says why and what helps."""


def run(command: list[str], *, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command; return what it printed. Show its output only if it fails."""
    done = subprocess.run(  # noqa: S603 - the commands are those of this package
        command, cwd=cwd, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise Failed(f"{' '.join(command[:2])} ended with {done.returncode}:\n{tail}")
    return done.stdout


@contextlib.contextmanager
def draft_of(home: Path) -> Iterator[Path]:
    """Give a folder to fill, then rename it to `home`; another clone may do the same."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as top:
        draft = Path(top, home.name)
        draft.mkdir()
        yield draft
        if not home.exists():
            draft.rename(home)
