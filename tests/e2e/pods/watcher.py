"""Runs in a pod, with the project's image: watches a token file, and the folder in which it is.

Arguments: the path, and how many changes to wait for. Prints one JSON list of what it found at
first and after each close by a writer: inode, mtime and ctime in nanoseconds, content, and the
inotify events of file and folder since the item before.
"""

import ctypes
import json
import os
import select
import struct
import sys
from pathlib import Path
from typing import Any

_ALL, _CLOSE_WRITE = 0xFFF, 0x8  # <sys/inotify.h>
_READING = 0x1 | 0x10 | 0x20  # accessed, closed without writing, opened
_HEAD = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


def watch(path: Path) -> int:
    """Return a descriptor for the events of a path, without those of readers."""
    descriptor = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    watching: int = _libc.inotify_add_watch(descriptor, bytes(path), _ALL & ~_READING)
    if watching < 0:
        sys.exit(f"{path}: {os.strerror(ctypes.get_errno())}")
    return descriptor


def events(descriptor: int, name: str) -> list[int]:
    """Return the masks of the events so far of a file; those of a folder's other files are not."""
    masks = []
    try:
        content = os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return []
    while content:
        _, mask, _, length = _HEAD.unpack_from(content)
        end = _HEAD.size + length
        if content[_HEAD.size : end].rstrip(b"\0").decode() in {"", name}:
            masks.append(mask)
        content = content[end:]
    return masks


def look(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8") as file:
        found = os.fstat(file.fileno())
        times = {"mtime": found.st_mtime_ns, "ctime": found.st_ctime_ns}
        return {"inode": found.st_ino, **times, "content": file.read()}


def main() -> None:
    path, changes = Path(sys.argv[1]), int(sys.argv[2])
    file, folder = watch(path), watch(path.parent)
    found = [look(path)]
    heard: list[int] = []
    while len(found) <= changes:
        select.select([file], [], [])
        heard += events(file, path.name)
        if _CLOSE_WRITE in heard:
            now = look(path)
            found.append(now | {"file": heard, "folder": events(folder, path.name)})
            heard = []
    print(json.dumps(found))


main()
