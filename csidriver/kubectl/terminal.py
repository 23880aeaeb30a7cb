"""The user's terminal. Texts of others cannot control it."""

import getpass
import shutil
import sys
from typing import TextIO

from csidriver.core.sensitive import Sensitive


class Terminal:
    """Standard output for results, standard error for everything else."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    @property
    def is_interactive(self) -> bool:
        """Return whether somebody can answer a question."""
        return sys.stdin is not None and sys.stdin.isatty() and self._err.isatty()

    @property
    def width(self) -> int:
        return shutil.get_terminal_size().columns

    def print(self, text: str = "") -> None:
        """Print a line of a result."""
        self._write(self._out, printable(text))

    def report(self, text: str = "") -> None:
        """Print a line about what happens."""
        self._write(self._err, printable(text))

    def draw(self, text: str) -> None:
        """Print lines of our own that may contain control sequences, such as a picture."""
        self._write(self._err, text)

    def ask(self, question: str) -> str:
        """Return what the user types; raises EOFError if nobody can."""
        self._err.write(printable(question))
        self._err.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip()

    def ask_secret(self, question: str) -> Sensitive:
        """Return what the user types, which the terminal does not show."""
        return Sensitive(getpass.getpass(printable(question), self._err))

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        stream.write(text + "\n")
        stream.flush()


def printable(text: str) -> str:
    """Return the text with an escape for each character that could control a terminal."""
    return "".join(
        char if char in "\n\t" or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
