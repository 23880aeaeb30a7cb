"""Texts of users inside messages, and the known words that they may mean."""

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 64


def quote_untrusted(text: object, mark: str = "'") -> str:
    """Return a text in quotes: shortened, and printable ASCII, as HTTP headers and logs need it."""
    short = str(text)
    if len(short) > _LONGEST:
        short = short[: _LONGEST - 3] + "..."
    return f"{mark}{ascii(short)[1:-1]}{mark}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word of the most similar spelling, "" if none is similar.

    Searching is slow, so no long word is looked at: none is similar to one of ours.
    """
    short = [each for each in known if len(each) <= _LONGEST]
    found = get_close_matches(word, short, n=1) if len(word) <= _LONGEST else []
    return found[0] if found else ""
