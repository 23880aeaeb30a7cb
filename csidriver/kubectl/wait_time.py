"""How long a user wants to wait, as an argument."""

import argparse

_LONGEST = 24 * 3600.0


def wait_seconds(text: str) -> float:
    """Return seconds of at most a day; raise ArgumentTypeError."""
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    # A NaN is in no range.
    if not 0 <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(
            f"must be seconds, from 0 to {_LONGEST:.0f} (a day): {text!r}"
        )
    return seconds
