"""The contract for programs that watch a token file: docs/watching-token-files.md."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.node import tokenfile
from csidriver.node.token_fs import DATA_FOLDER
from csidriver.node.tokenfile import RewriteResult
from tests.node.inotify import ATTRIB, CHANGES, CLOSE_WRITE, ENDS, MODIFY, Inotify
from tests.node.plugin import Node, sub_path_mount
from tests.waiting import until

pytestmark = pytest.mark.mounts

# Longer than before, as long in one page, longer in two, as long in two, shorter.
SIZES = (3000, 3000, 6000, 6000, 10)
MASK = CHANGES | ENDS | ATTRIB


class Watcher:
    """Watches a file in both kinds of mount, and the folder that is a mount."""

    def __init__(self, node: Node, stack: contextlib.ExitStack) -> None:
        directory = node.root / "container"
        directory.mkdir()
        node.mounts.bind(node.target(), directory)
        self.sub_path = sub_path_mount(node)
        self.files = [directory / "token", self.sub_path]
        watches = (*self.files, directory)
        self._watches = [stack.enter_context(Inotify(path, MASK)) for path in watches]
        self._read: list[list[int]] = [[] for _ in self._watches]

    def events(self) -> list[list[int]]:
        """Return the events of each watch since the start, or since `take_change`."""
        for watch, masks in zip(self._watches, self._read, strict=True):
            masks.extend(watch.read())
        return self._read

    def take_change(self) -> None:
        """Wait until a writer has closed the file: changes and then one close, nothing else."""
        until(lambda: all(CLOSE_WRITE in masks for masks in self.events()), "the change")
        for masks in self._read:
            assert set(masks[:-1]) == {MODIFY}
            assert masks[-1] == CLOSE_WRITE
            masks.clear()

    def times(self) -> tuple[int, ...]:
        """Return inode, mtime and ctime, the same in each mount."""
        found = [file.stat() for file in self.files]
        (times,) = {(each.st_ino, each.st_mtime_ns, each.st_ctime_ns) for each in found}
        return times

    def contents(self) -> set[str]:
        return {file.read_text(encoding="utf-8") for file in self.files}


@pytest.fixture
def watcher(published: Node) -> Iterator[Watcher]:
    with contextlib.ExitStack() as stack:
        yield Watcher(published, stack)


@pytest.fixture
def file(published: Node) -> Path:
    """The file of a plugin that has ended, which else might look at it, or write its token."""
    published.stop()
    return published.folder() / DATA_FOLDER / "token"


def unchanged(node: Node) -> float:
    return node.metric("oauth2_csi_node_rewrites_total", outcome="unchanged")


def test_every_rotation_is_a_change_and_one_close_of_the_same_inode(
    published: Node, watcher: Watcher
) -> None:
    for generation, size in enumerate(SIZES, 2):
        before = watcher.times()
        value = f"at-{generation}-".ljust(size, "x")
        published.write_token(value, generation)
        watcher.take_change()
        assert watcher.contents() == {value}
        after = watcher.times()
        assert after[0] == before[0]
        assert all(now > then for now, then in zip(after[1:], before[1:], strict=True))
    before, attempts = watcher.times(), unchanged(published)
    published.publish(published.request())
    until(lambda: unchanged(published) > attempts, "an attempt after a republish")
    attempts = unchanged(published)
    published.write_token(published.content(), 99)
    until(lambda: unchanged(published) > attempts, "an attempt with the next generation")
    published.stop()
    published.start()
    until(lambda: unchanged(published) > 0, "an attempt after a restart")
    assert watcher.events() == [[], [], []]
    assert watcher.times() == before


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_refused_lease_is_no_event_and_moves_no_time(
    file: Path, watcher: Watcher, size: int
) -> None:
    value, before = b"z" * size, watcher.times()
    with watcher.sub_path.open("rb"):
        for _ in range(20):
            assert tokenfile.rewrite(file, value) is RewriteResult.BUSY
        assert watcher.events() == [[], [], []]
        fd = os.open(file, os.O_RDWR)  # as if the reader had come after a first look
        assert tokenfile.replace_under_lease(fd, value) is RewriteResult.BUSY
        os.close(fd)
        assert watcher.times() == before
    assert watcher.contents() == {"at-1"}


def test_a_rewrite_is_the_same_to_a_watcher_without_a_lease(file: Path, watcher: Watcher) -> None:
    for size in SIZES:
        tokenfile.rewrite(file, b"y" * size + os.urandom(2).hex().encode(), leased=False)
        watcher.take_change()
