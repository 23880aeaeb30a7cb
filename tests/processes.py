"""Processes that run the command, and the pages that they serve."""

import contextlib
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.waiting import TIMEOUT, until

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "csidriver", *arguments]


@contextlib.contextmanager
def running(
    *arguments: str, prefix: Sequence[str] = ()
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """Run the command; give the process and its log, and kill the process in the end."""
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen([*prefix, *command(*arguments)], stdout=log, stderr=log)  # noqa: S603
        try:
            yield process, Path(log.name)
        finally:
            process.kill()
            process.wait()


def metrics_of(log: Path) -> str:
    status, text = page_of(log, "metrics")
    assert status == 200
    return text


def page_of(log: Path, page: str) -> tuple[int, str]:
    return page_at(f"http://{served_at(log, 'metrics' if page == 'metrics' else 'health')}", page)


def served_at(log: Path, what: str) -> str:
    """Where a process serves metrics or health; waits for that."""
    served = re.compile(rf"{what} on http://([^\s\"]+)/")

    def address() -> str:
        found = served.search(log.read_text(encoding="utf-8"))
        return "" if found is None else found[1]

    # A process starts slowly on a machine where dozens do.
    return str(until(address, f"{what} is served", 3 * TIMEOUT))


def page_at(url: str, page: str) -> tuple[int, str]:
    try:
        with OPENER.open(f"{url}/{page}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
