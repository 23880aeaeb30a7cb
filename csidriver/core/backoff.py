"""Delays between attempts."""

import hashlib


def stable_jitter(uid: str, generation: int) -> float:
    """Return a number in [0, 1) that depends on token and generation, so it survives a restart."""
    digest = hashlib.sha256(f"{uid}/{generation}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / float(1 << 56)


def backoff(failures: int, u: float, cap: float) -> float:
    """Return seconds to wait after that many failures: 2 s doubling, capped, with full jitter."""
    return max(0.5, u * min(2.0 * 2.0 ** min(failures - 1, 20), cap))
