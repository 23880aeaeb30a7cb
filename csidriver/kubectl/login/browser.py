"""The web browser of the user, if this machine has one that a program can open."""

import os
import sys
import webbrowser
from collections.abc import Mapping

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def has_browser(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Return True where a browser opens in a window: one for texts would take the terminal."""
    return platform == "darwin" or any(environment.get(name) for name in _DISPLAYS)


def open_browser(url: str) -> bool:
    """Open an address without a shell; return False if there is no browser."""
    if not has_browser():
        return False
    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
