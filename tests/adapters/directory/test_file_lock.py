import subprocess
import sys
from pathlib import Path

import pytest

from csidriver.adapters.directory import FileLock
from csidriver.errors import StoreUnavailable
from tests.adapters.directory.handwritten import WAIT


def test_a_lock_whose_file_was_removed_is_acquired_again_or_not_at_all(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path), FileLock(tmp_path)
    assert one.acquire()
    (tmp_path / ".refresher").unlink()
    assert one.acquire()
    assert not other.acquire()
    (tmp_path / ".refresher").unlink()
    assert other.acquire()
    assert not one.acquire()


def test_a_lock_behind_a_symlink_is_not_acquired(tmp_path: Path) -> None:
    (tmp_path / ".refresher").symlink_to(tmp_path / "target")
    with pytest.raises(StoreUnavailable):
        FileLock(tmp_path).acquire()
    assert not (tmp_path / "target").exists()


HOLD_LOCK = """
import sys, time
from pathlib import Path
from csidriver.adapters.directory import FileLock

lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_the_lock_of_a_process_that_dies_is_free_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD_LOCK, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:  # noqa: S603 - our own text
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert not FileLock(tmp_path).acquire()
        process.kill()
        process.wait(WAIT)
        assert FileLock(tmp_path).acquire()
