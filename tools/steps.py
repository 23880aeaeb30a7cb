"""The parts of every step of `make tools`: run a command, fill a folder, rename it."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

# Seconds between two looks at what a command does.
TERMINAL_SECONDS, PLAIN_SECONDS = 1.0, 15.0


class Failed(Exception):
    """A program could not be had; the text says why and what helps."""


def run(
    command: list[str],
    *,
    cwd: Path,
    environment: dict[str, str] | None = None,
    every: float = TERMINAL_SECONDS if sys.stdout.isatty() else PLAIN_SECONDS,
) -> str:
    """Run a command; return its output. Show what it does every so often, and why it fails."""
    began, lines = time.monotonic(), list[str]()
    with subprocess.Popen(  # noqa: S603 - the commands are those of this package
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        reader = threading.Thread(target=lines.extend, args=[process.stdout])
        reader.start()
        reader.join(every)
        while reader.is_alive():
            elapsed = f"{time.monotonic() - began:.0f} s"
            _show(f"  {Path(command[0]).name}: {elapsed}: {lines[-1].strip() if lines else ''}")
            reader.join(every)
    _show("")
    if process.returncode != 0:
        tail = "".join(lines[-15:]).strip()
        raise Failed(f"{' '.join(command[:2])} ended with {process.returncode}:\n{tail}")
    return "".join(lines)


def _show(text: str) -> None:
    """Print a line; on a terminal write it over the last one."""
    if sys.stdout.isatty():
        print(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
    elif text:
        print(text, flush=True)


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
