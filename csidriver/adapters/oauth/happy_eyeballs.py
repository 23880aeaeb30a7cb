"""Connections to names with several addresses, of which some may be dead (RFC 8305)."""

import selectors
import socket
import time
from collections.abc import Iterable
from typing import Any

# RFC 8305 section 8: the Connection Attempt Delay.
ATTEMPT_DELAY = 0.25


def connect(
    host: str, port: int, timeout: float, options: Iterable[tuple[Any, ...]]
) -> socket.socket:
    """Return a socket connected to the first address that accepts; raises OSError if none does.

    The next attempt begins 250 ms after the last one, or at once if that one has failed.
    """
    addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    deadline = time.monotonic() + timeout
    error: OSError = TimeoutError("no address has answered")
    with selectors.DefaultSelector() as attempts:
        try:
            while addresses or attempts.get_map():
                if addresses:
                    try:
                        attempt = _begin(addresses.pop(0), options)
                    except OSError as failed:
                        error = failed
                        continue
                    attempts.register(attempt, selectors.EVENT_WRITE, attempt)
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                for key, _ in attempts.select(min(ATTEMPT_DELAY, left) if addresses else left):
                    decided: socket.socket = key.data
                    attempts.unregister(decided)
                    code = decided.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code == 0:
                        decided.settimeout(timeout)
                        return decided
                    decided.close()
                    error = OSError(code, "connecting has failed")
            raise error
        finally:
            for key in attempts.get_map().values():
                key.data.close()


def _begin(address: tuple[Any, ...], options: Iterable[tuple[Any, ...]]) -> socket.socket:
    family, kind, protocol, _, target = address
    attempt = socket.socket(family, kind, protocol)
    try:
        attempt.setblocking(False)
        for option in options:
            attempt.setsockopt(*option)
        attempt.connect(target)
    except BlockingIOError:
        pass
    except OSError:
        attempt.close()
        raise
    return attempt
