"""The mounts in `/proc/self/mountinfo`, in the format of proc(5)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount: the directory `root` of the file system on `device` appears at `target`."""

    mount_id: int
    device: str
    root: str
    target: str
    read_only: bool
    shared: bool
    fs_type: str


def parse(lines: Iterable[str]) -> Iterator[Mount]:
    """Yield mounts in the order of the file: of several on one target, the last is on top."""
    for line in lines:
        # The kernel escapes space, tab and newline only: other white space is part of a path.
        fields = line.rstrip("\n").split(" ")
        try:
            dash = fields.index("-", 6)
        except ValueError:
            continue
        yield Mount(
            mount_id=int(fields[0]),
            device=fields[2],
            root=_unescape(fields[3]),
            target=_unescape(fields[4]),
            read_only="ro" in fields[5].split(","),
            shared=any(tag.startswith("shared:") for tag in fields[6:dash]),
            fs_type=fields[dash + 1],
        )


def _unescape(path: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)
