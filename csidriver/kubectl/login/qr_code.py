"""A QR code of an address, for a terminal: a phone then opens it."""

import contextlib
from collections.abc import Callable
from typing import Any

_make: Callable[..., Any] | None = None
# The plugin's file has it, but not every Python that runs the command.
with contextlib.suppress(ImportError):
    import segno

    _make = segno.make

_BORDER = 2
# Two rows of modules in one line of text; a light module is the foreground.
_BLOCKS = {(0, 0): "\u2588", (0, 1): "\u2580", (1, 0): "\u2584", (1, 1): " "}
_WHITE_ON_BLACK, _RESET = "\x1b[97;40m", "\x1b[0m"


def draw_qr_code(text: str, columns: int, encoding: str) -> str:
    """Return lines that draw the code, "" if the terminal cannot or is too narrow."""
    if _make is None or not _can_encode(encoding):
        return ""
    code = _make(text, error="l", micro=False, boost_error=False)
    rows = [tuple(row) for row in code.matrix_iter(scale=1, border=_BORDER)]
    if len(rows[0]) > columns:
        return ""
    if len(rows) % 2:
        rows.append((0,) * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ["".join(_BLOCKS[pair] for pair in zip(*two, strict=True)) for two in pairs]
    return "\n".join(f"{_WHITE_ON_BLACK}{line}{_RESET}" for line in lines)


def _can_encode(encoding: str) -> bool:
    try:
        "".join(_BLOCKS.values()).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
