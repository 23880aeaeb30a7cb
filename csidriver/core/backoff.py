"""Pauses between attempts."""

import hashlib


def stable_jitter(uid: str, generation: int) -> float:
    """A number in [0, 1) that is fixed per token and refresh, so a restart does not redraw it."""
    digest = hashlib.sha256(f"{uid}/{generation}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / float(1 << 56)


def backoff(failures: int, u: float, cap: float) -> float:
    """Seconds to wait after so many failures in a row: 2 s doubling, full jitter, capped."""
    return max(0.5, u * min(2.0 * 2.0 ** min(failures - 1, 20), cap))
