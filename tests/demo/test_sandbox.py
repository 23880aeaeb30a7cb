import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.mounts
ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys
from pathlib import Path
from csidriver.adapters.mounts import Mounts
from csidriver.demo import sandbox

sandbox.enter(with_children=True)
folder = Path(sys.argv[1])
Mounts().mount_tmpfs(folder, size=65536, inodes=16)
(folder / "inside").touch()
child = os.fork()
if child == 0:
    print(os.getpid(), os.getuid(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_mounts_are_not_visible_outside_and_the_first_child_is_process_1(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "0"]
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
