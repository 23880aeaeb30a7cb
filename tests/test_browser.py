"""The browser of tests, on a page of this file."""

import contextlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.browser import PROGRAMS, Browser
from tests.refresher.bench import until

pytestmark = pytest.mark.tools(*PROGRAMS)

PAGE = b"""<!DOCTYPE html><title>A page</title>
<form method="post"><input id="code" name="code" value="old"><button id="go">Go</button></form>"""


class Page(BaseHTTPRequestHandler):
    """Shows a form, then what was put into it; tells who has been here by a cookie."""

    def do_GET(self) -> None:
        known = b"known" if "seen=1" in self.headers.get("Cookie", "") else b"new"
        self._answer(PAGE + b"<p>" + known)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer(b"<p>You wrote " + form["code"][0].encode())

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "seen=1")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_it_fills_a_form_reads_the_next_page_and_forgets(page: str) -> None:
    with Browser() as browser:
        browser.open(page)
        assert browser.url == page
        assert "new" in browser.text
        assert browser.has("#go")
        browser.fill("#code", "BCDF-GHJK")
        browser.click("#go")
        browser.wait_for("You wrote BCDF-GHJK")
        assert not browser.has("#go")
        browser.open(page)
        assert "known" in browser.text
        browser.forget()
        browser.open(page)
        assert "new" in browser.text


def processes_of(folder: Path) -> list[Path]:
    """Return the processes that a folder is named to, or that work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in (process / "cmdline").read_bytes():
                found.append(process)
    return found


def test_nothing_of_it_stays() -> None:
    with Browser() as browser:
        folder = browser.folder
        assert len(processes_of(folder)) > 1
    assert processes_of(folder) == []
    assert not folder.exists()


def test_it_ends_with_a_driver_that_is_killed() -> None:
    with Browser() as browser:
        browser.driver.kill()
        until(lambda: processes_of(browser.folder) == [])
