"""`kubectl oauth2-csi login` as a process of its own, and a user who clicks in its browser."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.waiting import until

# A browser's program: tells its address, then ends, as those of a desktop do.
_BROWSER = """#!{python} -IS
import pathlib, sys
with open(pathlib.Path(__file__).with_name("opened"), "a") as opened:
    opened.write(sys.argv[1] + "\\n")
"""


class LoginProcess(contextlib.ExitStack):
    """A running login below `folder`; all its temporary files would be there."""

    def __init__(self, folder: Path, words: Sequence[str], environment: Mapping[str, str]) -> None:
        super().__init__()
        self._own = [folder / "home", folder / "temporary"]
        for own in self._own:
            own.mkdir(exist_ok=True)
        browser = folder / "browser"
        browser.write_text(_BROWSER.format(python=sys.executable))
        browser.chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        places = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "temporary")}
        places |= {"BROWSER": f"{browser} %s", "PYTHONPATH": str(Path(__file__).parents[3])}
        self._opened = folder / "opened"
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(  # noqa: S603 - ours
                [sys.executable, "-m", "csidriver.kubectl", "login", *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder / "home",
                env=kept | places | dict(environment),
            )
        self.callback(self.process.wait)
        self.callback(self.process.kill)

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self._out.read_text() + self._err.read_text()

    @property
    def files(self) -> list[bytes]:
        """The contents of the files that it has left in its home and for temporary files."""
        paths = [path for own in self._own for path in own.rglob("*")]
        return [path.read_bytes() for path in paths if path.is_file()]

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
        until(lambda: self._opened.exists() or self.process.poll() is not None, "the browser opens")
        until(lambda: self._opened.read_text().endswith("\n"), self.text)
        return self._opened.read_text().split("\n")[0]

    def wait(self) -> int:
        return self.process.wait(60)
