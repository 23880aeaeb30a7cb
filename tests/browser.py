"""Chromium without a window, driven over WebDriver (W3C): a person who clicks through pages."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import requests

from tests.waiting import until
from tools.programs import program

PROGRAMS = ("chromium", "chromedriver")
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of a reference to one
_TEXT = "return document.body === null ? '' : document.body.innerText"
# Milliseconds that a search for an element waits for it; only a defect waits as long.
_PATIENCE = 20_000
_REQUEST = 120.0  # seconds; a first start on a busy disk takes many
_ATTEMPTS = 10
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses to start as root with it
    "--disable-dev-shm-usage",  # small in a container
    "--disable-gpu",
    "--no-proxy-server",
    "--no-first-run",
    # Pages of servers under test name a font of the internet, and would wait for it.
    "--host-resolver-rules=MAP *.googleapis.com ~NOTFOUND",
    # It ends with the other end of a pipe, and so with its driver, however that ends.
    "--remote-debugging-pipe",
)


class Browser(contextlib.ExitStack):
    """A browser with an empty profile in `folder`; elements are named by CSS selectors."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="browser-")))
        self._http = self.enter_context(requests.Session())
        self._http.trust_env = False
        self._log = self.folder / "log"
        self.driver = self._start_driver()
        self.callback(self._end_driver)
        try:
            self._url = f"http://127.0.0.1:{self._port()}/session"
            self._url += f"/{self._start_browser()}"
        except BaseException as error:
            error.add_note(self._log.read_text(errors="replace")[-4000:])
            self.close()
            raise
        self.callback(self._quit)

    @property
    def text(self) -> str:
        """The page as a person reads it."""
        return str(self._send("POST", "/execute/sync", script=_TEXT, args=[]))

    def open(self, url: str) -> None:
        self._send("POST", "/url", url=url)

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.text, f"the page says {text!r}")

    def fill(self, selector: str, text: str) -> None:
        field = self._find(selector)
        self._send("POST", f"/element/{field}/clear")
        self._send("POST", f"/element/{field}/value", text=text)

    def click(self, selector: str) -> None:
        """Click on an element; the page to which that leads may come later."""
        self._send("POST", f"/element/{self._find(selector)}/click")

    def forget(self) -> None:
        """Forget all cookies, and so who has signed in where."""
        self.open("about:blank")
        command = "Network.clearBrowserCookies"
        self._send("POST", "/goog/cdp/execute", cmd=command, params={})

    def _find(self, selector: str) -> str:
        found = self._send("POST", "/element", using="css selector", value=selector)
        return str(found[_ELEMENT])

    def _send(self, method: str, path: str, **body: Any) -> Any:
        answer = self._http.request(
            method, self._url + path, json=body if method == "POST" else None, timeout=_REQUEST
        )
        value = answer.json()["value"]
        assert answer.ok, f"{path}: {value['error']}: {value['message']}"
        return value

    def _start_driver(self) -> "subprocess.Popen[bytes]":
        # A killed test run must not leave it behind.
        command = ["setpriv", "--pdeathsig=KILL", str(program("chromedriver")), "--port=0"]
        homes = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR")
        environment = os.environ | dict.fromkeys(homes, str(self.folder))
        with self._log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - a program of ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _start_browser(self) -> str:
        """Start Chromium; return the session's id."""
        flags = [*_FLAGS, f"--user-data-dir={self.folder}/profile"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": str(program("chromium")), "args": flags},
            "timeouts": {"implicit": _PATIENCE},
        }
        return str(self._send("POST", "", capabilities={"alwaysMatch": wanted})["sessionId"])

    def _port(self) -> str:
        """Return where the driver serves; start it again if it found no port.

        It takes a port that is free with IPv6 for IPv4, too.
        """
        for _ in range(_ATTEMPTS):
            ended_or_serves = until(
                lambda: self.driver.poll() is not None or self._served(), "chromedriver serves"
            )
            if ended_or_serves is not True:
                return str(ended_or_serves)
            self.driver = self._start_driver()
        raise AssertionError("chromedriver ends")

    def _served(self) -> str:
        log = self._log.read_text(errors="replace")
        found = re.search(r"started successfully on port (\d+)", log)
        return found[1] if found else ""

    def _quit(self) -> None:
        with contextlib.suppress(requests.ConnectionError):  # the driver was killed
            self._send("DELETE", "")

    def _end_driver(self) -> None:
        """End the driver and all that it has started, which else writes into its profile."""
        self.driver.kill()
        self.driver.wait()
        until(lambda: not _killed_in_session(self.driver.pid), "the browser ends")


def _killed_in_session(session: int) -> list[int]:
    """Kill the processes of a session; return those that were still there."""
    killed = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name in brackets: state, parent, group, session.
            state, _, _, found = status.read_text().rpartition(")")[2].split()[:4]
            if int(found) == session and state != "Z":
                killed.append(int(status.parent.name))
                os.kill(killed[-1], signal.SIGKILL)
    return killed
