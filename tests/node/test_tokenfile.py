import contextlib
import ctypes
import errno
import fcntl
import itertools
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

# Reads until its time is over, then says how many reads it made, how many saw neither content, and
# how many saw bytes change without both times, or one time without the other (eosxd takes a new
# time for a new login).
READER = """
import os, sys, time
path, seconds, chunk, *sizes = sys.argv[1:]
good = {bytes([97 + i]) * int(size) for i, size in enumerate(sizes)}
chunk, reads, torn, apart, before = int(chunk), 0, 0, 0, None
print("ready", flush=True)
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    fd = os.open(path, os.O_RDONLY)
    found, parts = os.fstat(fd), []
    while part := os.read(fd, chunk):
        parts.append(part)
    os.close(fd)
    now = b"".join(parts), found.st_mtime_ns, found.st_ctime_ns
    reads += 1
    torn += now[0] not in good
    moved, before = [new != old for new, old in zip(now, before or now)], now
    apart += moved[1] != moved[2] or moved[0] > moved[1]
print(reads, torn, apart)
"""
A, B = b"a" * 1200, b"b" * 6000
BATCHES = (
    8  # of threads one in ten sees nothing; on a busy machine processes run a part of the time
)
# A kernel before 6.13 counts time in ticks of up to 10 ms.
TICK = 10_000_000

# fcntl(2) through a handle that keeps the GIL: whoever asks is running Python code.
F_GETLEASE, F_WRLCK = 1025, 1
_ask = ctypes.PyDLL(None).fcntl
_ask.argtypes = (ctypes.c_int, ctypes.c_int)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of eight pages."""
    Mounts().mount_tmpfs(tmp_path, size=8 * PAGE, inodes=100)
    try:
        yield tmp_path
    finally:
        Mounts().unmount(tmp_path)


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


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


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


def test_create_gives_exact_bytes_and_mode_whatever_the_umask_and_never_replaces_a_file(
    folder: Path,
) -> None:
    file, before = folder / "token", os.umask(0o077)
    try:
        tokenfile.create(file, b"a\x00b\n", uid=0, gid=0, mode=0o440)
    finally:
        os.umask(before)
    with pytest.raises(TokenFileFailed):
        tokenfile.create(file, LONGER, uid=0, gid=0, mode=0o400)
    assert file.read_bytes() == b"a\x00b\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o440
    assert names(folder) == ["token"]


def test_create_goes_on_after_a_crash_in_the_middle(folder: Path) -> None:
    (folder / "..draft").write_bytes(b"half a tok")
    assert made(folder / "token").read_bytes() == OLD
    assert names(folder) == ["token"]


def test_create_that_does_not_fit_leaves_nothing(folder: Path) -> None:
    with pytest.raises(StorageFull):
        made(folder / "token", b"x" * (9 * PAGE))
    assert names(folder) == []
    fill(folder)
    with pytest.raises(StorageFull):
        made(folder / "token")
    assert names(folder) == ["filler"]


@pytest.mark.parametrize("content", [LONGER, SHORTER, b""])
def test_rewrite_replaces_the_content_and_keeps_the_file(file: Path, content: bytes) -> None:
    with opened(file) as reader:
        assert tokenfile.rewrite(file, content) is RewriteResult.BUSY
        assert tokenfile.rewrite(file, content, leased=False) is RewriteResult.UNLEASED
        assert os.read(reader, 10_000) == content
        assert tokenfile.rewrite(file, OLD, leased=False) is RewriteResult.UNLEASED
    before = file.stat()
    with opened(file, os.O_PATH) as beside:  # who only looks does not matter
        assert tokenfile.rewrite(file, content) is RewriteResult.LEASED
        assert os.fstat(beside).st_size == len(content)
    after = file.stat()
    assert promptly(file.read_bytes) == content, "the lease is given back"
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_rewrite_with_equal_bytes_touches_nothing(file: Path) -> None:
    before = aged(file)
    with opened(file):
        assert tokenfile.rewrite(file, OLD) is RewriteResult.UNCHANGED
        assert tokenfile.rewrite(file, OLD, leased=False) is RewriteResult.UNCHANGED
    assert times(file) == before


@pytest.mark.parametrize("leased", [True, False])
@pytest.mark.parametrize("old", [OLD, LONGER])
def test_rewrite_on_a_full_file_system_leaves_the_old_content_whole(
    folder: Path, old: bytes, *, leased: bool
) -> None:
    file = made(folder / "token", old)
    fill(folder)
    before = aged(file)
    with pytest.raises(StorageFull):
        tokenfile.rewrite(file, b"n" * (3 * PAGE), leased=leased)
    assert promptly(file.read_bytes) == old, "the lease is given back"
    assert times(file) == before
    for content in (FITTING, SHORTER):
        assert tokenfile.rewrite(file, content, leased=leased) is not RewriteResult.BUSY
        assert file.read_bytes() == content


@pytest.mark.parametrize("leased", [True, False])
def test_no_symlink_is_followed(folder: Path, file: Path, *, leased: bool) -> None:
    link = folder / "link"
    link.symlink_to(file)
    for path in (link, folder / "none"):
        with pytest.raises(TokenFileFailed):
            tokenfile.rewrite(path, LONGER, leased=leased)
    with pytest.raises(TokenFileFailed):
        tokenfile.erase(link)
    assert file.read_bytes() == OLD


def test_a_readers_own_lease_does_not_block_a_rewrite_nor_erase(file: Path) -> None:
    with opened(file) as fd:
        fcntl.fcntl(fd, fcntl.F_SETSIG, 23)  # SIGURG; the default would end the test
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        for leased in (True, False):
            rewrite = partial(tokenfile.rewrite, file, LONGER, leased=leased)
            assert promptly(rewrite) is RewriteResult.BUSY
        promptly(lambda: tokenfile.erase(file))
    assert not file.exists()


@pytest.mark.parametrize("old", [10, 3000, 6000, 9000])
@pytest.mark.parametrize("new", [10, 3000, 6000, 9000])
def test_a_kill_between_any_two_calls_leaves_a_whole_token_and_no_old_times_with_new_bytes(
    file: Path, old: int, new: int
) -> None:
    """With nothing but newlines behind it, which only a call after the last write can cut off."""
    before, after = b"o" * old, b"n" * new
    for steps in itertools.count():
        assert tokenfile.rewrite(file, before) is not RewriteResult.BUSY
        os.utime(file, ns=(1, 1))
        with opened(file, os.O_RDWR) as fd, tokenfile._write_calls(fd, after) as calls:
            tokenfile.call_chain([(lambda: 0, 0), *calls[:steps]])
        found = file.read_bytes()
        assert found.rstrip(b"\n") in (before, after)
        assert found == before or file.stat().st_mtime_ns > 1
        assert not (old <= new <= PAGE and found.endswith(b"\n"))
        if steps == len(calls):
            assert found == after
            return


def test_erase_empties_what_others_keep_open_and_may_be_repeated(file: Path) -> None:
    with opened(file) as reader:
        tokenfile.erase(file)
        assert os.read(reader, 10_000) == b""
    tokenfile.erase(file)
    assert not file.exists()


def hammer(file: Path, write: Callable[[bytes], object], seconds: float) -> tuple[int, int, int]:
    """What two tight-looping readers count while contents alternate."""
    command = [sys.executable, "-c", READER, str(file), str(seconds)]
    with contextlib.ExitStack() as stack:
        readers = []
        for chunk in ("512", "65536"):
            arguments = [*command, chunk, str(len(A)), str(len(B))]
            reader = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)  # noqa: S603
            readers.append(stack.enter_context(reader))
            stack.callback(reader.kill)
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        end = time.monotonic() + seconds
        for content in itertools.cycle((A, B)):
            write(content)
            if time.monotonic() > end:
                break
        said = [map(int, reader.communicate(timeout=20)[0].split()) for reader in readers]
    reads, torn, apart = map(sum, zip(*said, strict=True))
    return reads, torn, apart


def truncate_and_write(file: Path, content: bytes) -> None:
    with opened(file, os.O_WRONLY | os.O_TRUNC) as fd:
        os.write(fd, content)


def test_the_hammer_finds_torn_reads_of_plain_writing(file: Path) -> None:
    tokenfile.rewrite(file, A)
    assert any(hammer(file, partial(truncate_and_write, file), 1)[1] for _ in range(BATCHES))


def test_the_hammer_finds_no_torn_reads_of_rewrite(file: Path) -> None:
    """Nor a read that has new bytes with old times."""
    tokenfile.rewrite(file, A)
    outcomes: Counter[RewriteResult] = Counter()

    def write(content: bytes) -> None:
        while time.time_ns() - file.stat().st_mtime_ns <= TICK:
            pass
        outcomes[tokenfile.rewrite(file, content)] += 1

    reads = 0
    for _ in range(BATCHES):
        more, torn, apart = hammer(file, write, 2)
        assert (torn, apart) == (0, 0)
        reads += more
        if outcomes[RewriteResult.LEASED] > 20 and reads > 1000:
            return
    raise AssertionError(f"{reads} reads met {outcomes}")


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
    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(watch) for _ in range(4)]
        try:
            sys.setswitchinterval(1e-6)
            ready.wait(10)
            for turn in range(rounds):
                write(fd, (A, B)[turn % 2])
        finally:
            stop.set()
            sys.setswitchinterval(before)
        return sum(watcher.result() for watcher in watchers)


def write_with_statements(fd: int, content: bytes) -> None:
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    os.pwrite(fd, content, 0)
    os.ftruncate(fd, len(content))
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def test_no_python_code_runs_while_the_lease_is_held(file: Path) -> None:
    """Other than with ordinary statements, which shows that the count can be more than zero."""
    outcomes: list[RewriteResult] = []

    def write(fd: int, content: bytes) -> None:
        outcomes.append(tokenfile.replace_under_lease(fd, content))

    with opened(file, os.O_RDWR) as fd:
        assert [leases_seen(fd, write, 300) for _ in range(4)] == [0] * 4
        assert outcomes == [RewriteResult.LEASED] * 1200
        assert any(leases_seen(fd, write_with_statements, 300) for _ in range(BATCHES))
