"""`make picture`: run the demo on a terminal of its own, and draw its last screen.

The lines that show what admission adds to a pod are folded; nothing else is changed.
"""

import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[1] / "docs/pictures/demo.svg"
WIDTH = 104
# What rich's Live writes before its first frame, before each line of a later one, and at its end.
_HIDE_CURSOR, _ERASE_LINE, _SHOW_CURSOR = "\x1b[?25l", "\x1b[2K", "\x1b[?25h"
_INDENTED = re.compile(r"(?m)(^ {4}.*\n)+")
# Readers of the picture must not fetch fonts from elsewhere.
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


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
        PICTURE.write_text(draw(last_screen(written.decode())), encoding="utf-8")
    return status


def last_screen(written: str) -> str:
    """Return the lines before the table, the last table, and the lines after it."""
    steps, _, frames = written.replace("\r\n", "\n").partition(_HIDE_CURSOR)
    last = frames.rpartition(_ERASE_LINE)[2].replace(_SHOW_CURSOR, "")
    return _INDENTED.sub("    ...\n", steps) + last


def draw(screen: str) -> str:
    """Return the screen as SVG."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print('$ make demo ARGS="--seconds 12"', highlight=False)
        console.print(Text.from_ansi(screen))
    return _FONTS.sub("", console.export_svg(title="make demo", unique_id="demo"))


if __name__ == "__main__":
    sys.exit(main())
