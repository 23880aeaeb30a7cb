"""A process that looks at a token file as the eosxd client does, as fast as it can.

Arguments: the path, the user to become, how many looks. It prints "ready", and at the end one line
of JSON, the fields of `Looks`.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW


@dataclass(slots=True)
class Looks:
    """What a process has seen: changes of both times and bytes, and of one of them alone."""

    count: int = 0
    changes: int = 0
    times_alone: int = 0
    bytes_alone: int = 0
    inodes: int = 1


def look(parts: list[str]) -> tuple[int, int, int, bytes]:
    """Open each component by itself, then return inode, mtime, ctime and content."""
    fd = os.open("/", _FLAGS)
    for part in parts:
        inner = os.open(part, _FLAGS, dir_fd=fd)
        os.close(fd)
        fd = inner
    found = os.fstat(fd)
    content = os.read(fd, 65536)
    os.close(fd)
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, content


def look_again(path: str, count: int) -> Looks:
    """Look so many times; compare each with the one before."""
    parts = path.strip("/").split("/")
    looks, before = Looks(count), look(parts)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in range(count):
        now = look(parts)
        if now != before:
            moved = [new != old for new, old in zip(now, before, strict=True)]
            looks.inodes += moved[0]
            looks.changes += moved[1:] == [True, True, True]
            looks.times_alone += not moved[3]
            looks.bytes_alone += moved[3] and not (moved[1] and moved[2])
            before = now
    return looks


if __name__ == "__main__":
    user = int(sys.argv[2])
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    json.dump(asdict(look_again(sys.argv[1], int(sys.argv[3]))), sys.stdout)
