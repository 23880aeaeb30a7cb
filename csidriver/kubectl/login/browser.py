"""The web browser of the user, if this machine has one that a program can open."""

import contextlib
import os
import sys
import threading
import webbrowser
from collections.abc import Mapping

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def has_browser(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Return True where a browser opens in a window: one for texts would take the terminal."""
    return platform == "darwin" or any(environment.get(name) for name in _DISPLAYS)


def open_browser(url: str) -> bool:
    """Begin to open an address, without a shell; return False if there is no browser.

    Some browsers run until their window is closed, so the caller does not wait for them.
    """
    if not has_browser():
        return False
    threading.Thread(target=_open, args=(url,), daemon=True).start()
    return True


def _open(url: str) -> None:
    # The user has the address on the terminal, too.
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(url)
