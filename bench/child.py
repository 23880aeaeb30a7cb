"""Processes of the bench that answer lines."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from csidriver.errors import DriverError


class Child:
    """A program of Python as a process."""

    def __init__(self, name: str, pid: int, asking: IO[str], answers: IO[str]) -> None:
        self.pid = pid
        self._name, self._asking, self._answers = name, asking, answers

    def line(self) -> str:
        """Return the next line of its output; raises DriverError if it has ended."""
        if line := self._answers.readline():
            return line
        raise DriverError(f"{self._name} has ended")

    def ask(self, question: object) -> str:
        """Send a line, and return the answer."""
        self._asking.write(f"{question}\n")
        self._asking.flush()
        return self.line()


@contextlib.contextmanager
def child(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: Path | None = None,
    folder: Path | None = None,
) -> Iterator[Child]:
    """Run Python with these arguments until the block ends, maybe in a folder."""
    with contextlib.ExitStack() as stack:
        errors = None if log is None else stack.enter_context(log.open("ab"))
        process = stack.enter_context(
            subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                env=environment,
            )
        )
        # It ends with its children; killed, it would leave them behind.
        stack.callback(process.terminate)
        if process.stdin is None or process.stdout is None:
            raise DriverError(f"{arguments} has no pipes")
        yield Child(" ".join(arguments), process.pid, process.stdin, process.stdout)
