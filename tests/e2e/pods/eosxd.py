"""Runs in a pod, with the project's image: looks at a token file as the eosxd client does.

Arguments: the path, and how many changes of the file to wait for. Opens every component of the
path by itself, for reading and without following links, as the user it runs as. Prints one JSON
list: the times of change and the contents that it met, each new pair once.
"""

import json
import os
import sys
import time


def look(path: str) -> tuple[int, str]:
    """The time of change in nanoseconds, and the content."""
    place = os.open("/", os.O_RDONLY | os.O_NOFOLLOW)
    for part in path.strip("/").split("/"):
        inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=place)
        os.close(place)
        place = inner
    try:
        return os.fstat(place).st_mtime_ns, os.read(place, 65536).decode()
    finally:
        os.close(place)


def main() -> None:
    path, changes = sys.argv[1], int(sys.argv[2])
    seen = [look(path)]
    while len(seen) <= changes:
        time.sleep(0.01)
        if (found := look(path)) != seen[-1]:
            seen.append(found)
    print(json.dumps(seen))


main()
