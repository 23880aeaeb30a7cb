"""Processes of the bench that answer lines."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.process import environment
from csidriver.errors import DriverError


class Child:
    """A module of ours as a process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self) -> str:
        """Return the next line of its output; raises DriverError if it has ended."""
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise DriverError(f"{self._process.args} has ended")

    def ask(self, question: object) -> str:
        """Send a line, and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return self.line()


@contextlib.contextmanager
def child(arguments: Sequence[str], folder: Path, log: Path) -> Iterator[Child]:
    """Run Python with these arguments and the variables of the image, until the block ends."""
    with (
        log.open("ab") as errors,
        subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(folder),
        ) as process,
    ):
        try:
            yield Child(process)
        finally:
            process.kill()
