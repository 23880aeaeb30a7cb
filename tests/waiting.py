"""Waiting for what other threads and processes do."""

import threading
import time
from collections.abc import Callable
from typing import Any

TIMEOUT = 20.0  # seconds; only a defect waits for it


def until(
    check: Callable[[], Any], description: str = "it", timeout: float = TIMEOUT, pause: float = 0.01
) -> Any:
    """Wait until `check` returns something true, and return that; look every `pause` seconds."""
    deadline = time.monotonic() + timeout
    never = threading.Event()
    while not (result := check()):
        assert time.monotonic() < deadline, f"{description} did not happen within {timeout} s"
        never.wait(pause)
    return result
