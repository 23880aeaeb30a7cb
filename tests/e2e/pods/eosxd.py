"""Runs in a pod, with the project's image: looks at a token file as the eosxd client does.

Arguments: the path, and how many changes of the file to wait for. Opens every component of the
path by itself, for reading and without following links, as the user it runs as. Prints one JSON
list: the times of change and the contents that it met, each new pair once.
"""

import json
import os
import sys
import time


def read_as_eosxd(path: str) -> tuple[int, str]:
    """The time of change in nanoseconds, and the content."""
    descriptor = os.open("/", os.O_RDONLY | os.O_NOFOLLOW)
    for part in path.strip("/").split("/"):
        inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    try:
        return os.fstat(descriptor).st_mtime_ns, os.read(descriptor, 65536).decode()
    finally:
        os.close(descriptor)


def main() -> None:
    path, changes = sys.argv[1], int(sys.argv[2])
    reads = [read_as_eosxd(path)]
    while len(reads) <= changes:
        time.sleep(0.01)
        if (found := read_as_eosxd(path)) != reads[-1]:
            reads.append(found)
    print(json.dumps(reads))


main()
