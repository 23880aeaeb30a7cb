"""The commands of a page, run as its reader types them."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.image import CLONE

# Commands and, after prose at most, what they print.
_BLOCK = re.compile(
    r"^```sh\n(.*?)^```\n(?:(?:(?!```|#)[^\n]*\n)*?^```text\n(.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
_VARIABLE = re.compile(r"\d|\.\.\.|[A-Z]{4}-[A-Z]{4}")
# Some image pulls and rollouts take as long.
_LONGEST = 240.0


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and what the page shows below its block: the output, or nothing."""

    line: str
    output: str = ""


def commands(page: str, section: str = "") -> list[Command]:
    """Return the commands in the `sh` blocks of a page, or of one section of it."""
    return parse((CLONE / page).read_text(encoding="utf-8"), section)


def parse(text: str, section: str = "") -> list[Command]:
    if section:
        _, found, rest = text.partition(f"\n## {section}\n")
        assert found, f"there is no section {section!r}"
        text = re.split(r"^## ", rest, flags=re.MULTILINE)[0]
    return [command for block, shown in _BLOCK.findall(text) for command in _lines(block, shown)]


def _lines(block: str, shown: str) -> Iterator[Command]:
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        yield Command(line.strip(), shown if number == len(lines) else "")


def differs(shown: str, output: str) -> str:
    """Return the first line that a page shows and an output lacks, in this order; else "".

    Words with a digit, codes of a login and `...` stand for any word.
    """
    position = 0
    for line in shown.splitlines():
        words = [r"\S+" if _VARIABLE.search(word) else re.escape(word) for word in line.split()]
        found = re.compile(r"\s+".join(words)).search(output, position)
        if found is None:
            return line
        position = found.end()
    return ""


class Reader:
    """Somebody who types commands at the top of the tree; `path` are folders for PATH."""

    def __init__(self, kubeconfig: Path, *path: Path) -> None:
        folders = [*map(str, path), os.environ["PATH"]]
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "PATH": os.pathsep.join(folders),
        }
        self._exports = ""

    def run(self, line: str) -> str:
        """Run a command to its end; return both of its outputs."""
        if line.startswith("export "):
            self._exports += f"{line}\n"
        with self.started(line) as process:
            output, _ = process.communicate(timeout=_LONGEST)
        assert process.returncode == 0, f"{line}: {output}"
        return output

    def run_until(self, line: str, is_enough: Callable[[str], bool], seconds: float = 90) -> str:
        """Run a command until its output is enough, then press Ctrl-C; return the output."""
        output = ""
        with self.started(line) as process, _deadline(process, seconds):
            assert process.stdout is not None
            for text in process.stdout:
                output += text
                if is_enough(output):
                    os.killpg(process.pid, signal.SIGINT)
                    break
            else:
                raise AssertionError(f"{line}: {output}")
            process.wait()
        return output

    def run_answering(self, line: str, answer: Callable[[str], bool], seconds: float = 90) -> str:
        """Run a command to its end; `answer` gets its output until it has answered: True."""
        output, answered = "", False
        with self.started(line) as process, _deadline(process, seconds):
            assert process.stdout is not None
            for text in process.stdout:
                output += text
                answered = answered or answer(output)
            process.wait()
        assert process.returncode == 0, f"{line}: {output}"
        return output

    @contextmanager
    def started(self, line: str) -> Iterator["subprocess.Popen[str]"]:
        """A command while it runs, in a process group of its own, which ends with the context."""
        process = subprocess.Popen(  # noqa: S603 - a command of our documents
            ["/bin/bash", "-c", f"{self._exports}{line}"],
            cwd=CLONE,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def _deadline(process: "subprocess.Popen[str]", seconds: float) -> Iterator[None]:
    """Kill a process that says nothing more after so long."""
    timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
