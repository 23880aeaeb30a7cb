import os
import subprocess
import sys
from pathlib import Path

from csidriver.files import FileLock, stamp

HOLD_LOCK = """
import sys
from pathlib import Path
from csidriver.files import FileLock

lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_the_lock_of_a_process_that_dies_is_free_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD_LOCK, str(tmp_path / "lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:  # noqa: S603 - our own text
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert not FileLock(tmp_path / "lock").acquire()
        process.kill()
        process.wait(20.0)
        assert FileLock(tmp_path / "lock").acquire()


def test_a_file_that_was_written_again_has_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    before = path.stat()
    assert stamp(before) == stamp(path.stat())
    path.write_text("aa")
    os.utime(path, ns=(0, before.st_mtime_ns))
    assert stamp(before) != stamp(path.stat()), "within one tick of the clock"
