"""The contract for programs that watch a token file: docs/watching-token-files.md."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.node import tokenfile
from csidriver.node.token_fs import DATA_FOLDER
from csidriver.node.tokenfile import RewriteResult
from tests.node.inotify import ATTRIB, CHANGES, CLOSE_WRITE, ENDS, MODIFY, Inotify
from tests.node.plugin import Node, eventually, sub_path_mount

pytestmark = pytest.mark.mounts

SIZES = {"longer": 3000, "same size": 3000, "two pages": 6000, "equal pages": 6000, "shorter": 10}
MASK = CHANGES | ENDS | ATTRIB
Times = tuple[int, int, int]


class Watcher:
    """Watches a file in both kinds of mount, and the folder that is a mount."""

    def __init__(self, node: Node, stack: contextlib.ExitStack) -> None:
        self._node = node
        directory = node.root / "container"
        directory.mkdir()
        node.mounts.bind(node.target(), directory)
        self.sub_path = sub_path_mount(node)
        self.files = [directory / "token", self.sub_path]
        self._watches = [
            stack.enter_context(Inotify(path, MASK)) for path in (*self.files, directory)
        ]
        self._read: list[list[int]] = [[] for _ in self._watches]

    def events(self) -> list[list[int]]:
        """Return the events of each watch since the start, or since `forget`."""
        for watch, masks in zip(self._watches, self._read, strict=True):
            masks += [event.mask for event in watch.read()]
        return self._read

    def forget(self) -> None:
        self.events()
        for masks in self._read:
            masks.clear()

    def wait_for_change(self) -> None:
        """Wait until each watch has been told once that a writer has closed the file."""
        eventually(lambda: all(CLOSE_WRITE in masks for masks in self.events()), "the change")

    def is_one_change(self) -> bool:
        """Return True if each watch was told of changes and then of one close, nothing else."""
        return all(
            masks and masks == [MODIFY] * (len(masks) - 1) + [CLOSE_WRITE] and len(masks) > 1
            for masks in self.events()
        )

    def times(self) -> set[Times]:
        """Return inode, mtime and ctime, the same in each mount."""
        found = [file.stat() for file in self.files]
        return {(each.st_ino, each.st_mtime_ns, each.st_ctime_ns) for each in found}

    def contents(self) -> set[str]:
        return {file.read_text(encoding="utf-8") for file in self.files}


@pytest.fixture
def watcher(published: Node) -> Iterator[Watcher]:
    with contextlib.ExitStack() as stack:
        yield Watcher(published, stack)


@pytest.fixture
def unattended(published: Node) -> Node:
    """A node whose plugin has ended, which else might look at the file, or write its token."""
    published.stop()
    return published


def node_file(node: Node) -> Path:
    return node.folder() / DATA_FOLDER / "token"


def unchanged(node: Node) -> float:
    return node.metric("oauth2_csi_node_rewrites_total", outcome="unchanged")


def test_every_rotation_is_a_change_and_one_close_of_the_same_inode(
    published: Node, watcher: Watcher
) -> None:
    for generation, size in enumerate(SIZES.values(), 2):
        (before,) = watcher.times()
        value = f"at-{generation}-".ljust(size, "x")
        published.write_token(value, generation)
        watcher.wait_for_change()
        assert watcher.contents() == {value}
        (after,) = watcher.times()
        assert after[0] == before[0]
        assert all(now > then for now, then in zip(after[1:], before[1:], strict=True))
        assert watcher.is_one_change(), watcher.events()
        watcher.forget()


def test_a_rewrite_without_a_lease_is_the_same_to_a_watcher(
    unattended: Node, watcher: Watcher
) -> None:
    for size in SIZES.values():
        value = b"y" * size + os.urandom(2).hex().encode()
        result = tokenfile.rewrite(node_file(unattended), value, leased=False)
        assert result is RewriteResult.UNLEASED
        assert watcher.is_one_change(), watcher.events()
        watcher.forget()


def test_nothing_happens_without_new_bytes(published: Node, watcher: Watcher) -> None:
    before = watcher.times()
    assert tokenfile.rewrite(node_file(published), b"at-1") is RewriteResult.UNCHANGED
    attempts = unchanged(published)
    published.publish(published.request())
    eventually(lambda: unchanged(published) > attempts, "an attempt after a republish")
    attempts = unchanged(published)
    published.write_token("at-1", 2)
    eventually(lambda: unchanged(published) > attempts, "an attempt with the next generation")
    published.stop()
    published.start()
    eventually(lambda: unchanged(published) > 0, "an attempt after a restart")
    assert watcher.events() == [[], [], []]
    assert watcher.times() == before


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_a_refused_lease_is_no_event_and_moves_no_time(
    unattended: Node, watcher: Watcher, size: int
) -> None:
    value = b"z" * size
    before = watcher.times()
    with watcher.sub_path.open("rb"):
        for _ in range(20):
            assert tokenfile.rewrite(node_file(unattended), value) is RewriteResult.BUSY
        assert watcher.events() == [[], [], []]
        assert watcher.times() == before
    assert tokenfile.rewrite(node_file(unattended), value) is RewriteResult.LEASED
    assert watcher.is_one_change(), watcher.events()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_a_lease_that_a_reader_forestalls_moves_no_time(
    unattended: Node, watcher: Watcher, size: int
) -> None:
    before = watcher.times()
    fd = os.open(node_file(unattended), os.O_RDWR)
    try:
        with watcher.sub_path.open("rb"):
            assert tokenfile.replace_under_lease(fd, b"z" * size) is RewriteResult.BUSY
    finally:
        os.close(fd)
    assert watcher.times() == before
    assert watcher.contents() == {"at-1"}


PAIRS = list(itertools.product([10, 3000, 6000, 9000], repeat=2))


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_kill_during_a_rewrite_leaves_no_new_bytes_with_old_times(
    unattended: Node, old: int, new: int
) -> None:
    file, content = node_file(unattended), b"o" * old
    for steps in itertools.count():
        assert tokenfile.rewrite(file, content) is not RewriteResult.BUSY
        os.utime(file, ns=(1, 1))
        fd = os.open(file, os.O_RDWR)
        try:
            with tokenfile._write_calls(fd, b"n" * new) as calls:
                tokenfile.call_chain([(lambda: 0, 0), *calls[:steps]])
        finally:
            os.close(fd)
        if file.read_bytes() != content:
            assert file.stat().st_mtime_ns > 1
        if steps == len(calls):
            return


def test_the_folder_around_a_sub_path_mount_sees_nothing(published: Node) -> None:
    mounted = published.root / "tmp" / "oauthtk_0"
    mounted.parent.mkdir()
    mounted.touch()
    published.mounts.bind(published.file(), mounted)
    with Inotify(mounted.parent, MASK) as folder, Inotify(mounted, MASK) as file:
        published.write_token("at-2", 2)
        eventually(lambda: any(event.mask == CLOSE_WRITE for event in file.read()), "the change")
        assert folder.read() == []
