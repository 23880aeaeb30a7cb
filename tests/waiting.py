"""Waiting for what other threads and processes do."""

import threading
import time
from collections.abc import Callable
from typing import Any

# Seconds; only a defect waits for it.
TIMEOUT = 20.0


def until(condition: Callable[[], Any], description: str = "it", timeout: float = TIMEOUT) -> Any:
    """Wait until `condition` returns something true, and return that."""
    deadline = time.monotonic() + timeout
    never = threading.Event()
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{description} did not happen within {timeout} s"
        never.wait(0.01)
    return result
