import threading

import pytest

from csidriver.kubectl.login.browser import has_browser, open_browser
from tests.kubectl.login.authorization_server import FakeBrowser
from tests.waiting import until


def test_a_screen_has_a_browser() -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        assert has_browser({name: "x"}, "linux")
        assert not has_browser({name: "", "TERM": "xterm"}, "linux")
    assert has_browser({}, "darwin")


def test_nobody_waits_for_a_browser_that_stays_open(browser: FakeBrowser) -> None:
    closed = threading.Event()
    browser.before_open = lambda: closed.wait(20)
    try:
        assert open_browser("http://127.0.0.1:1/")
        assert browser.opened == []
    finally:
        closed.set()
    until(lambda: browser.opened)


@pytest.mark.usefixtures("no_browser")
def test_nothing_is_opened_without_a_screen() -> None:
    assert not open_browser("http://127.0.0.1:1/")
