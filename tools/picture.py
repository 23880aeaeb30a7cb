"""`make picture`: run the demo on a terminal of its own, and draw its last screen.

The lines that show what admission adds to a pod are folded; nothing else is changed.
"""

import os
import pty
import re
import sys
from pathlib import Path

from tools.terminal_pictures import draw

PICTURE = Path(__file__).parents[1] / "docs/pictures/demo.svg"
WIDTH = 104
# What rich's Live writes before its first frame, before each line of a later one, and at its end.
_HIDE_CURSOR, _ERASE_LINE, _SHOW_CURSOR = "\x1b[?25l", "\x1b[2K", "\x1b[?25h"
_INDENTED = re.compile(r"(?m)(^ {4}.*\n)+")


def main() -> int:
    """Write the picture; the exit status is that of the demo."""
    os.environ |= {"COLUMNS": str(WIDTH), "LINES": "60", "TERM": "xterm-256color"}
    written = bytearray()

    def read(terminal: int) -> bytes:
        chunk = os.read(terminal, 65536)
        written.extend(chunk)
        return chunk

    command = [sys.executable, "-m", "csidriver", "demo", "--seconds", "12"]
    status = os.waitstatus_to_exitcode(pty.spawn(command, read))
    if status == 0:
        PICTURE.parent.mkdir(exist_ok=True)
        screen = last_screen(written.decode())
        picture = draw(screen, 'make demo ARGS="--seconds 12"', "demo", width=WIDTH)
        PICTURE.write_text(picture, encoding="utf-8")
    return status


def last_screen(written: str) -> str:
    """Return the lines before the table, the last table, and the lines after it."""
    steps, _, frames = written.replace("\r\n", "\n").partition(_HIDE_CURSOR)
    last = frames.rpartition(_ERASE_LINE)[2].replace(_SHOW_CURSOR, "")
    return _INDENTED.sub("    ...\n", steps) + last


if __name__ == "__main__":
    sys.exit(main())
