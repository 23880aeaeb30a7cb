"""For eosxd a new time of change is a new login: time and bytes of a file move together, or not.

`EOSXD_LOOKS` says how many looks there are; a million takes half a minute of two cores.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.eosxd import Looks
from tests.node.inotify import CLOSE_WRITE, Inotify
from tests.node.plugin import Node, eventually

pytestmark = [pytest.mark.mounts, pytest.mark.other_uids]

LOOKS = int(os.environ.get("EOSXD_LOOKS", "1000000"))
OWNER = 1000
SIZES = (900, 3000, 6000, 6000, 9000, 10)
# A kernel before 6.13 counts time in ticks of up to 10 ms.
TICK = 10_000_000
ROOT = Path(__file__).parents[2]


class Reader:
    """An eosxd of its own at one path."""

    def __init__(self, path: Path) -> None:
        arguments = [str(path), str(OWNER), str(LOOKS // 2)]
        self._process = subprocess.Popen(  # noqa: S603 - a module of ours
            [sys.executable, "-m", "tests.node.eosxd", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def is_done(self) -> bool:
        return self._process.poll() is not None

    def looks(self) -> Looks:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert self._process.wait() == 0
        return Looks(**json.loads(said))

    def close(self) -> None:
        with self._process:
            self._process.kill()


@pytest.fixture
def files(node: Node) -> list[Path]:
    """The token file of OWNER, in a directory mount and in a subPath mount."""
    node.root.chmod(0o755)
    node.write_token("at-1")
    node.publish(node.request(attributes={"owner": str(OWNER)}))
    directory, sub_path = node.root / "container", node.root / f"oauthtk_{OWNER}"
    directory.mkdir()
    sub_path.touch()
    node.mounts.bind(node.target(), directory)
    node.mounts.bind(node.file(), sub_path)
    return [directory / "token", sub_path]


@contextlib.contextmanager
def reading(files: list[Path]) -> Iterator[list[Reader]]:
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(contextlib.closing(Reader(file))) for file in files]
        for reader in readers:
            reader.wait_until_ready()
        yield readers


def rotate(node: Node, file: Path, readers: list[Reader]) -> None:
    """Bring one token after another until the readers are done."""
    with Inotify(file, CLOSE_WRITE) as closes:
        for generation in itertools.count(2):
            value = f"at-{generation}-".ljust(SIZES[generation % len(SIZES)], "x")
            node.write_token(value, generation)
            eventually(closes.read, "the rotation", 60)
            eventually(lambda: time.time_ns() - file.stat().st_mtime_ns > TICK, "the next tick")
            if all(reader.is_done() for reader in readers):
                return


def test_times_and_bytes_move_together_at_each_look(node: Node, files: list[Path]) -> None:
    with reading(files) as readers:
        rotate(node, files[0], readers)
        found = [reader.looks() for reader in readers]
    assert sum(looks.count for looks in found) == LOOKS // 2 * 2
    for looks in found:
        assert (looks.inodes, looks.times_alone, looks.bytes_alone) == (1, 0, 0)
        assert looks.changes > 5
