"""A memory cgroup, version 1 or 2, in which a command runs as in a container with a limit."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")
_DOCKERFILE = Path(__file__).parents[1] / "Dockerfile"


@dataclass(frozen=True)
class MemoryCgroup:
    """An existing cgroup; `of_v1` tells its version."""

    folder: Path
    of_v1: bool

    @property
    def prefix(self) -> tuple[str, ...]:
        """What starts a command in the cgroup, with the image's settings of malloc."""
        settings = re.findall(r"MALLOC_\w+=\d+", _DOCKERFILE.read_text(encoding="utf-8"))
        script = 'echo $$ > "$0" && exec env "$@"'
        return "sh", "-c", script, str(self.folder / "cgroup.procs"), *settings

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed for want of memory."""
        events = "memory.oom_control" if self.of_v1 else "memory.events"
        found = re.search(r"^oom_kill (\d+)$", self._read(events), re.MULTILINE)
        assert found, "the kernel does not count"
        return int(found[1])

    @property
    def peak(self) -> float:
        """The most memory so far, in MiB, page cache included."""
        return int(self._read("memory.max_usage_in_bytes" if self.of_v1 else "memory.peak")) / 2**20

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="ascii")


@contextlib.contextmanager
def memory_cgroup(name: str, limit: int) -> Iterator[MemoryCgroup]:
    """Make a cgroup with a limit in bytes; skip the test where this process may not."""
    of_v1 = (_ROOT / "memory").is_dir()
    folder = (_ROOT / "memory" if of_v1 else _ROOT) / f"oauth2-csi-{name}-{os.getpid()}"
    try:
        if not of_v1:
            (_ROOT / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
        folder.mkdir(exist_ok=True)
        knob = "memory.limit_in_bytes" if of_v1 else "memory.max"
        (folder / knob).write_text(str(limit), encoding="ascii")
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here ({error.strerror}); run as root")
    try:
        yield MemoryCgroup(folder, of_v1)
    finally:
        folder.rmdir()
