"""Texts of users inside messages."""

_LONGEST = 64


def quote_untrusted(text: object, mark: str = "'") -> str:
    """Return a text in quotes: shortened, and printable ASCII, as HTTP headers and logs need it."""
    short = str(text)
    if len(short) > _LONGEST:
        short = short[: _LONGEST - 3] + "..."
    return f"{mark}{ascii(short)[1:-1]}{mark}"
