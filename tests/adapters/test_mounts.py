import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.adapters.mounts import Mounts
from csidriver.core.volume.mountinfo import Mount
from csidriver.errors import MountFailed
from tests.node.plugin import make_read_only

pytestmark = pytest.mark.mounts

MOUNTS = Mounts()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for mount in reversed(MOUNTS.table()):
        if Path(mount.target).is_relative_to(tmp_path):
            MOUNTS.unmount(Path(mount.target))


def made(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).mkdir()
    return [folder / name for name in names]


def on(target: Path) -> list[Mount]:
    return [mount for mount in MOUNTS.table() if mount.target == str(target)]


def options(target: Path) -> tuple[set[str], set[str]]:
    """Options of a mount and of its file system, as the kernel shows them."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    (line,) = [fields for fields in map(str.split, lines) if fields[4] == str(target)]
    return set(line[5].split(",")), set(line[-1].split(","))


def writable(path: Path) -> bool:
    try:
        path.write_text("x", encoding="utf-8")
    except OSError as error:
        if error.errno in (errno.EROFS, errno.ENOSPC):
            return False
        raise
    return True


@pytest.mark.parametrize("name", ["a\tb\nc", "\u20ac", "\\040"])
def test_odd_names_are_found_in_the_table(folder: Path, name: str) -> None:
    source, target = made(folder, "source", name)
    MOUNTS.bind(source, target)
    assert len(on(target)) == 1
    assert MOUNTS.unmount(target)
    assert on(target) == []


def test_a_read_only_view_is_read_only_for_all_that_is_bound_from_it_and_not_shared(
    folder: Path,
) -> None:
    source, around, target = made(folder, "source", "around", "target")
    MOUNTS.share(around)
    (view,) = made(around, "view")
    made(source, "data")
    MOUNTS.bind_read_only(source, view)
    MOUNTS.bind(view / "data", target)
    assert not writable(view / "file")
    assert not writable(target / "file")
    assert writable(source / "data" / "file")
    assert (target / "file").exists()
    assert [on(view)[0].read_only, on(target)[0].read_only] == [True, True]
    assert {"ro", "nosuid", "nodev", "noexec"} <= options(view)[0]
    assert (on(around)[0].shared, on(view)[0].shared) == (True, False)


def test_a_tmpfs_is_closed_to_others_and_limited(folder: Path) -> None:
    MOUNTS.mount_tmpfs(folder, size=8192, inodes=4)
    mount, file_system = options(folder)
    assert {"nosuid", "nodev", "noexec"} <= mount
    assert {"size=8k", "nr_inodes=4"} <= file_system
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "full").write_bytes(b"x" * 8192)
    assert not writable(folder / "b")  # of no room
    (folder / "full").unlink()
    assert writable(folder / "b")
    assert writable(folder / "c")
    assert not writable(folder / "e")  # of no inode: the root is one of them


@pytest.mark.other_uids
def test_a_tmpfs_is_kept_out_of_swap(folder: Path) -> None:
    release = Path("/proc/sys/kernel/osrelease").read_text(encoding="ascii").split(".")
    if tuple(map(int, release[:2])) < (6, 4):
        pytest.skip("noswap needs Linux 6.4")
    MOUNTS.mount_tmpfs(folder, size=8192, inodes=4)
    assert "noswap" in options(folder)[1]


def test_unmount_takes_the_topmost_away_and_says_when_there_is_none(folder: Path) -> None:
    first, second, target = made(folder, "first", "second", "target")
    MOUNTS.bind(first, target)
    MOUNTS.bind(second, target)
    assert MOUNTS.unmount(target)
    assert target.samefile(first)
    assert MOUNTS.unmount(target)
    assert not MOUNTS.unmount(target)
    assert not MOUNTS.unmount(folder / "none")
    assert not MOUNTS.unmount(folder / "none" / "deeper")


def test_unmount_works_while_in_use_and_follows_no_symlink(folder: Path) -> None:
    source, target = made(folder, "source", "target")
    (source / "file").write_text("x", encoding="utf-8")
    MOUNTS.bind(source, target)
    (folder / "link").symlink_to(target)
    assert not MOUNTS.unmount(folder / "link")
    assert len(on(target)) == 1
    with (target / "file").open(encoding="utf-8") as used:
        assert MOUNTS.unmount(target)
        assert on(target) == []
        assert used.read() == "x"


def test_a_clone_outlives_every_path_and_can_be_mounted_again(folder: Path) -> None:
    (target,) = made(folder, "target")
    MOUNTS.mount_tmpfs(target, size=1 << 16, inodes=10)
    clone = MOUNTS.clone(target)
    try:
        root = Path(f"/proc/self/fd/{clone}")
        assert MOUNTS.unmount(target)
        (root / "file").write_text("kept", encoding="utf-8")
        assert list(target.iterdir()) == []
        MOUNTS.attach(clone, target)
        assert (target / "file").read_text(encoding="utf-8") == "kept"
        with pytest.raises(MountFailed, match="target"):
            MOUNTS.clone(folder / "none" / "target")
        with pytest.raises(MountFailed) as caught:
            MOUNTS.bind(folder / "none", folder)
        assert (caught.value.operation, caught.value.path) == ("mount", str(folder))
        assert MOUNTS.unmount(target)
        with pytest.raises(MountFailed, match="target"):
            MOUNTS.attach(clone, target)
    finally:
        os.close(clone)


def test_what_covers_a_path_or_lies_below_it_does_not_reach_a_clone(folder: Path) -> None:
    (target,) = made(folder, "target")
    MOUNTS.share(folder)
    MOUNTS.mount_tmpfs(target, size=1 << 16, inodes=10)
    made(target, "below")
    clone = MOUNTS.clone(target)
    try:
        MOUNTS.mount_tmpfs(target / "below", size=1 << 16, inodes=10)
        MOUNTS.mount_tmpfs(target, size=1 << 16, inodes=10)
        root = Path(f"/proc/self/fd/{clone}")
        assert root.stat().st_dev == (root / "below").stat().st_dev != target.stat().st_dev
    finally:
        os.close(clone)


def test_a_file_system_that_was_made_read_only_is_made_writable(folder: Path) -> None:
    (target,) = made(folder, "target")
    MOUNTS.mount_tmpfs(target, size=1 << 16, inodes=10)
    make_read_only(target)
    assert not writable(target / "file")
    MOUNTS.make_writable(target)
    assert writable(target / "file")
    mount, filesystem = options(target)
    assert {"rw", "nosuid", "nodev", "noexec"} <= mount
    assert "size=64k" in filesystem
