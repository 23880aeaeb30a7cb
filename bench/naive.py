"""Two ways to rewrite a token file that programs use and readers suffer from.

Run with a way, a file and the seconds between two tokens; it ends when it is told to.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable

from bench import marked


def truncate(path: str, content: bytes) -> None:
    """Empty the file, then write, as `open(path, "wb")` does."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, content)
    os.close(descriptor)


def pwrite(path: str, content: bytes) -> None:
    """Write over what is there, then cut what is left of it."""
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))
    os.close(descriptor)


WAYS: dict[str, Callable[[str, bytes], None]] = {"truncate": truncate, "pwrite": pwrite}


def main() -> None:
    """Write until killed."""
    _, way, path, pause = sys.argv
    for size in itertools.cycle((marked.SIZE, marked.LARGE_SIZE)):
        WAYS[way](path, marked.token(size).encode())
        time.sleep(float(pause))


if __name__ == "__main__":
    main()
