"""Fixtures of the login: a browser that logs in by itself, and no proxies."""

import os
import webbrowser
from collections.abc import Iterator

import pytest

from tests.kubectl.login.authorization_server import AuthorizationServer, FakeBrowser


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as running:
        yield running


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBrowser]:
    """The only browser of this machine."""
    fake = FakeBrowser()
    monkeypatch.setenv("BROWSER", "fake")
    monkeypatch.setattr(webbrowser, "_tryorder", [])
    monkeypatch.setattr(webbrowser, "_browsers", {})
    webbrowser.register("fake", None, fake, preferred=True)
    yield fake
    fake.join()


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
