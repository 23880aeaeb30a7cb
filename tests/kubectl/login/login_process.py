"""`kubectl oauth2-csi login` as a process of its own, and a user who clicks in its browser."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from tests.refresher.bench import until

# A browser's program: tells its address, then ends, as those of a desktop do.
_BROWSER = """#!{python} -IS
import pathlib, sys
with open(pathlib.Path(__file__).with_name("opened"), "a") as opened:
    opened.write(sys.argv[1] + "\\n")
"""
_OPENER = build_opener(ProxyHandler({}))


class LoginProcess(contextlib.ExitStack):
    """A running login below `folder`; all its temporary files would be there."""

    def __init__(
        self, folder: Path, words: Sequence[str], environment: Mapping[str, str], stdin: str = ""
    ) -> None:
        super().__init__()
        self.folder = folder
        for name in ("home", "temporary"):
            (folder / name).mkdir(exist_ok=True)
        self._browser = folder / "browser"
        self._browser.write_text(_BROWSER.format(python=sys.executable))
        self._browser.chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        own = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "temporary")}
        own |= {"BROWSER": f"{self._browser} %s", "PYTHONPATH": str(Path(__file__).parents[3])}
        self._out, self._err = folder / "stdout", folder / "stderr"
        (folder / "stdin").write_text(stdin)
        with (
            self._out.open("wb") as out,
            self._err.open("wb") as err,
            (folder / "stdin").open("rb") as answers,
        ):
            self.process = subprocess.Popen(  # noqa: S603 - ours
                [sys.executable, "-m", "csidriver.kubectl", "login", *words],
                stdin=answers,
                stdout=out,
                stderr=err,
                cwd=folder / "home",
                env=kept | own | dict(environment),
            )
        self.callback(self._end)

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self._out.read_text() + self._err.read_text()

    @property
    def files(self) -> dict[Path, bytes]:
        """The files that it has left in its home and for temporary files."""
        found = [*(self.folder / "home").rglob("*"), *(self.folder / "temporary").rglob("*")]
        return {path: path.read_bytes() for path in found if path.is_file()}

    def find(self, pattern: str) -> str:
        """Wait until it prints something, and return the first group."""
        until(
            lambda: re.search(pattern, self.text) or self.process.poll() is not None,
            f"{pattern} in {self.text}",
        )
        # Once more: it may have printed this and ended between the two looks.
        found = re.search(pattern, self.text)
        assert found, self.text
        return found[1]

    def opened(self) -> str:
        """Wait until it opens the browser; return the address."""
        record = self._browser.with_name("opened")
        until(
            lambda: (
                self.process.poll() is not None
                or (record.exists() and record.read_text().endswith("\n"))
            ),
            "the browser opens",
        )
        assert record.exists(), self.text
        return record.read_text().split("\n")[0]

    def wait(self) -> int:
        return self.process.wait(60)

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()


def decide(address: str, page: str, decision: str) -> None:
    """Send the form of a page of the demo's server, and follow the redirect to the login."""
    form = {**dict(parse_qsl(urlsplit(address).query)), "decision": decision}
    url = urlsplit(address)._replace(path=page, query="").geturl()
    with _OPENER.open(Request(url, urlencode(form).encode()), timeout=20) as response:  # noqa: S310
        assert response.status == 200


def open_page(address: str) -> None:
    """Open an address that needs no click, and follow its redirect."""
    with _OPENER.open(address, timeout=20) as response:
        assert response.status == 200
