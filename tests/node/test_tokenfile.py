import ctypes
import errno
import fcntl
import mmap
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from csidriver.adapters.mounts import Mounts
from csidriver.errors import StorageFull, TokenFileFailed
from csidriver.node import tokenfile
from csidriver.node.tokenfile import RewriteResult
from tests.node.plugin import names

pytestmark = pytest.mark.mounts

OLD, LONGER, SHORTER = b"o" * 1200, b"n" * 6000, b"s" * 7
PAGE = 4096
FITTING = b"f" * PAGE  # longer than the old one, and in no more pages

# Reads until its time is over, then says how many reads it made and how many saw neither content.
READER = """
import os, sys, time
path, seconds, chunk, *sizes = sys.argv[1:]
good = {bytes([97 + i]) * int(size) for i, size in enumerate(sizes)}
chunk, reads, bad = int(chunk), 0, 0
print("ready", flush=True)
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    fd = os.open(path, os.O_RDONLY)
    parts = []
    while part := os.read(fd, chunk):
        parts.append(part)
    os.close(fd)
    reads += 1
    bad += b"".join(parts) not in good
print(reads, bad)
"""
A, B = b"a" * 1200, b"b" * 6000
# Whether the others get going at all differs from batch to batch: of threads one in ten sees
# nothing, and on a busy machine processes get a part of their time only.
BATCHES = 8

# fcntl(2) through a handle that keeps the GIL: whoever asks is running Python code.
F_GETLEASE, F_WRLCK = 1025, 1
_ask = ctypes.PyDLL(None).fcntl
_ask.argtypes = (ctypes.c_int, ctypes.c_int)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path, 1 << 20)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of four pages."""
    yield from mounted(tmp_path, 4 * PAGE)


def mounted(where: Path, size: int) -> Iterator[Path]:
    Mounts().mount_tmpfs(where, size=size, inodes=100)
    try:
        yield where
    finally:
        Mounts().unmount(where)


@pytest.fixture
def file(folder: Path) -> Path:
    return made(folder / "token")


def made(path: Path, content: bytes = OLD) -> Path:
    tokenfile.create(path, content, uid=0, gid=0, mode=0o400)
    return path


def aged(path: Path) -> tuple[int, int]:
    """Give a file an mtime that no write gives it; its times."""
    os.utime(path, ns=(1, 1))
    return times(path)


def times(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns


def fill(folder: Path) -> None:
    """Leave no page free."""
    with (folder / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * PAGE)
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - the loop ends in it


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def read_leased(path: Path) -> Iterator[None]:
    """A reader that holds a lease of its own, and is in no hurry to give it up."""
    with opened(path) as fd:
        fcntl.fcntl(fd, fcntl.F_SETSIG, 23)  # SIGURG; the default would end the test
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        yield


def test_a_rewrite_makes_the_calls_of_its_picture(file: Path) -> None:
    picture = (Path(__file__).parents[2] / "docs/pictures/rewrite.svg").read_text(encoding="utf-8")
    shown = re.findall(r'class="step">(\w+)<', picture)
    with opened(file, os.O_RDWR) as fd, tokenfile._write_calls(fd, SHORTER) as writing:
        take, release = tokenfile._lease_calls(fd)
        calls = (cast("partial[int]", step) for step, _ in (take, *writing, release))
        made = [step.func.__name__ for step in calls]
    assert shown == ["open", *made, "close"]


def promptly(call: Callable[[], object]) -> object:
    """The result of a call that could block for fs.lease-break-time, 45 s."""
    started = time.monotonic()
    result = call()
    assert time.monotonic() - started < 10
    return result


@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_create_gives_exact_bytes_and_mode_whatever_the_umask(folder: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        tokenfile.create(folder / "token", b"a\x00b\n", uid=0, gid=0, mode=mode)
    finally:
        os.umask(before)
    assert (folder / "token").read_bytes() == b"a\x00b\n"
    assert stat.S_IMODE((folder / "token").stat().st_mode) == mode
    assert names(folder) == ["token"]


@pytest.mark.other_uids
def test_create_gives_the_file_to_its_owner(folder: Path) -> None:
    tokenfile.create(folder / "token", OLD, uid=1001, gid=2002, mode=0o400)
    found = (folder / "token").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1001, 2002, 0o400)


@pytest.mark.parametrize("name", ["token", ".draft", "-rf", "x" * 255])
def test_create_takes_any_name_an_attribute_may_have(folder: Path, name: str) -> None:
    made(folder / name)
    assert names(folder) == [name]


def test_create_never_replaces_a_file(file: Path) -> None:
    inode = file.stat().st_ino
    with pytest.raises(TokenFileFailed):
        tokenfile.create(file, LONGER, uid=0, gid=0, mode=0o440)
    assert file.read_bytes() == OLD
    assert (file.stat().st_ino, stat.S_IMODE(file.stat().st_mode)) == (inode, 0o400)
    assert names(file.parent) == ["token"]


def test_create_goes_on_after_a_crash_in_the_middle(folder: Path) -> None:
    for name in ("..draft", ".draft"):
        (folder / name).write_bytes(b"half a tok")
    made(folder / "token")
    assert (folder / "token").read_bytes() == OLD


def test_create_on_a_full_file_system_leaves_nothing(tiny: Path) -> None:
    fill(tiny)
    with pytest.raises(StorageFull):
        made(tiny / "token")
    assert names(tiny) == ["filler"]


def test_create_that_only_half_fits_leaves_nothing(tiny: Path) -> None:
    with pytest.raises(StorageFull):
        made(tiny / "token", b"x" * (5 * PAGE))
    assert names(tiny) == []


@pytest.mark.parametrize("content", [LONGER, SHORTER, b"o" * 1199 + b"x", b""])
def test_rewrite_replaces_the_content_and_keeps_the_file(file: Path, content: bytes) -> None:
    before = file.stat()
    with opened(file, os.O_PATH) as beside:
        assert tokenfile.rewrite(file, content) is RewriteResult.LEASED
        assert os.fstat(beside).st_size == len(content)
    after = file.stat()
    assert file.read_bytes() == content
    assert (after.st_ino, after.st_mode, after.st_uid) == (
        before.st_ino,
        before.st_mode,
        before.st_uid,
    )


@pytest.mark.other_uids
def test_rewrite_leases_files_of_other_owners(folder: Path) -> None:
    tokenfile.create(folder / "token", OLD, uid=1001, gid=1001, mode=0o400)
    assert tokenfile.rewrite(folder / "token", LONGER) is RewriteResult.LEASED


def test_rewrite_releases_its_lease(file: Path) -> None:
    tokenfile.rewrite(file, LONGER)
    assert tokenfile.rewrite(file, SHORTER) is RewriteResult.LEASED
    with opened(file) as fd:
        assert os.read(fd, 100) == SHORTER


def test_rewrite_with_equal_bytes_touches_nothing(file: Path) -> None:
    before = aged(file)
    with opened(file):
        assert tokenfile.rewrite(file, OLD) is RewriteResult.UNCHANGED
        assert tokenfile.rewrite(file, OLD, leased=False) is RewriteResult.UNCHANGED
    assert times(file) == before


@pytest.mark.parametrize("content", [LONGER, FITTING, SHORTER])
def test_a_busy_file_keeps_its_times_until_it_has_its_bytes(file: Path, content: bytes) -> None:
    before = aged(file)
    with opened(file):
        assert [tokenfile.rewrite(file, content) for _ in range(3)] == [RewriteResult.BUSY] * 3
        assert times(file) == before
    assert tokenfile.rewrite(file, content) is RewriteResult.LEASED
    assert all(now > then for now, then in zip(times(file), before, strict=True))


def test_rewrite_is_busy_while_a_reader_has_the_file_open(file: Path) -> None:
    with opened(file) as reader:
        assert tokenfile.rewrite(file, LONGER) is RewriteResult.BUSY
        assert os.read(reader, 10_000) == OLD
    assert file.read_bytes() == OLD
    assert tokenfile.rewrite(file, LONGER) is RewriteResult.LEASED


def test_rewrite_is_busy_while_the_file_is_mapped(file: Path) -> None:
    with opened(file) as fd:
        mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    with mapped:
        assert tokenfile.rewrite(file, LONGER) is RewriteResult.BUSY
    assert tokenfile.rewrite(file, LONGER) is RewriteResult.LEASED


def test_rewrite_does_not_mind_who_only_looks(file: Path) -> None:
    with opened(file, os.O_PATH):
        file.stat()
        assert tokenfile.rewrite(file, LONGER) is RewriteResult.LEASED


@pytest.mark.parametrize("content", [LONGER, SHORTER])
def test_rewrite_without_a_lease_ignores_readers(file: Path, content: bytes) -> None:
    with opened(file) as reader:
        assert tokenfile.rewrite(file, content, leased=False) is RewriteResult.UNLEASED
        assert os.read(reader, 10_000) == content
    assert file.read_bytes() == content


@pytest.mark.parametrize("leased", [True, False])
@pytest.mark.parametrize("old", [OLD, LONGER])
def test_rewrite_on_a_full_file_system_leaves_the_old_content_whole(
    tiny: Path, old: bytes, *, leased: bool
) -> None:
    file = made(tiny / "token", old)
    fill(tiny)
    before = aged(file)
    with pytest.raises(StorageFull):
        tokenfile.rewrite(file, b"n" * (3 * PAGE), leased=leased)
    assert promptly(file.read_bytes) == old, "the lease is given back"
    assert times(file) == before
    for content in (FITTING, SHORTER):
        assert tokenfile.rewrite(file, content, leased=leased) is not RewriteResult.BUSY
        assert file.read_bytes() == content


def test_a_rewrite_that_shrinks_gives_the_room_back(tiny: Path) -> None:
    file = made(tiny / "token", b"x" * (3 * PAGE))
    tokenfile.rewrite(file, SHORTER)
    made(tiny / "other", b"y" * (3 * PAGE))


def test_no_symlink_is_followed(folder: Path, file: Path) -> None:
    link = folder / "link"
    link.symlink_to(file)
    for call in (
        lambda: tokenfile.rewrite(link, LONGER),
        lambda: tokenfile.rewrite(link, LONGER, leased=False),
        lambda: tokenfile.erase(link),
    ):
        with pytest.raises(TokenFileFailed):
            call()
    assert file.read_bytes() == OLD


def test_a_missing_file_is_an_error_to_rewrite(folder: Path) -> None:
    with pytest.raises(TokenFileFailed):
        tokenfile.rewrite(folder / "none", OLD)
    assert names(folder) == []


@pytest.mark.parametrize("leased", [True, False])
def test_a_readers_own_lease_does_not_block_a_rewrite(file: Path, *, leased: bool) -> None:
    with read_leased(file):
        outcome = promptly(lambda: tokenfile.rewrite(file, LONGER, leased=leased))
        assert outcome is RewriteResult.BUSY
    assert tokenfile.rewrite(file, LONGER) is RewriteResult.LEASED


def test_a_readers_own_lease_does_not_block_erase(file: Path) -> None:
    with read_leased(file):
        promptly(lambda: tokenfile.erase(file))
    assert not file.exists()


def test_erase_empties_what_others_keep_open(file: Path) -> None:
    with opened(file) as reader:
        tokenfile.erase(file)
        assert os.read(reader, 10_000) == b""
    assert not file.exists()


def test_erase_is_fine_with_nothing_to_erase(file: Path) -> None:
    tokenfile.erase(file)
    tokenfile.erase(file)


def hammer(file: Path, write: Callable[[bytes], object], seconds: float) -> tuple[int, int]:
    """Reads and bad reads of two tight-looping readers while contents alternate."""
    sizes = [str(len(A)), str(len(B))]
    readers = [
        subprocess.Popen(  # noqa: S603 - this interpreter, our own text
            [sys.executable, "-c", READER, str(file), str(seconds), chunk, *sizes],
            stdout=subprocess.PIPE,
            text=True,
        )
        for chunk in ("512", "65536")
    ]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        end = time.monotonic() + seconds
        turn = 0
        while time.monotonic() < end:
            turn += 1
            write((A, B)[turn % 2])
        said = [reader.communicate(timeout=20)[0].split() for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    return sum(int(reads) for reads, _ in said), sum(int(bad) for _, bad in said)


def test_the_hammer_finds_torn_reads_of_truncate_and_write(file: Path) -> None:
    file.chmod(0o600)
    tokenfile.rewrite(file, A)
    assert any(hammer(file, file.write_bytes, 0.8)[1] for _ in range(BATCHES))


def test_the_hammer_finds_torn_reads_of_pwrite_and_ftruncate(file: Path) -> None:
    tokenfile.rewrite(file, A)

    def write(content: bytes) -> None:
        with opened(file, os.O_WRONLY) as fd:
            os.pwrite(fd, content, 0)
            os.ftruncate(fd, len(content))

    assert any(hammer(file, write, 1.5)[1] for _ in range(BATCHES))


def test_the_hammer_finds_no_torn_reads_of_rewrite(file: Path) -> None:
    tokenfile.rewrite(file, A)
    outcomes: list[RewriteResult] = []
    reads = 0
    for _ in range(BATCHES):
        more, bad = hammer(file, lambda c: outcomes.append(tokenfile.rewrite(file, c)), 2)
        assert bad == 0
        reads += more
        if outcomes.count(RewriteResult.LEASED) > 20 and reads > 1000:
            return
    raise AssertionError(f"{reads} reads met {outcomes.count(RewriteResult.LEASED)} rewrites")


def leases_seen(fd: int, write: Callable[[int, bytes], object], rounds: int) -> int:
    """How often Python code of four busy threads ran while the lease was held."""
    stop, ready = threading.Event(), threading.Barrier(5)

    def watch() -> int:
        seen = 0
        ready.wait(10)
        while not stop.is_set():
            seen += _ask(fd, F_GETLEASE) == F_WRLCK
        return seen

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            watchers = [pool.submit(watch) for _ in range(4)]
            try:
                ready.wait(10)
                for turn in range(rounds):
                    write(fd, (A, B)[turn % 2])
            finally:
                stop.set()
            return sum(watcher.result() for watcher in watchers)
    finally:
        sys.setswitchinterval(before)


def test_no_python_code_runs_while_the_lease_is_held(file: Path) -> None:
    outcomes: list[RewriteResult] = []
    with opened(file, os.O_RDWR) as fd:
        seen = [
            leases_seen(
                fd,
                lambda fd, content: outcomes.append(tokenfile.replace_under_lease(fd, content)),
                300,
            )
            for _ in range(BATCHES)
        ]
    assert outcomes == [RewriteResult.LEASED] * 300 * BATCHES
    assert seen == [0] * BATCHES


def test_python_code_runs_while_a_lease_is_held_by_ordinary_statements(file: Path) -> None:
    """Proves that the count of the test before can be anything but zero."""

    def write(fd: int, content: bytes) -> None:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    with opened(file, os.O_RDWR) as fd:
        assert any(leases_seen(fd, write, 300) for _ in range(BATCHES))
