"""The floor of a fan-out: a process that watches companions and writes their token to files.

No validation, no retry, no lease, no rendering: one watch per companion, and pwrite(2). Run with
one JSON object on standard input; it prints a line when all watches stand, and ends with its
standard input.
"""

import base64
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from csidriver.core import names
from csidriver.errors import DriverError

# How often a watch is asked for, and the seconds between two times.
_TRIES, _PAUSE = 50, 0.2


class BareWatch:
    """The process; `files` says which files each companion is written to, by its name.

    `port` is that of the API server on loopback, `authority` a file with its certificate.
    """

    def __init__(
        self, port: int, authority: Path, token: str, files: Mapping[str, Sequence[str]]
    ) -> None:
        wanted = {"port": port, "authority": str(authority), "token": token, "files": files}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.bare_watch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None:
            raise RuntimeError("pipes were asked for")
        to.write(json.dumps(wanted) + "\n")
        to.flush()
        if not back.readline():
            raise DriverError("the bare watcher has ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


def _follow(wanted: Mapping[str, Any], name: str, standing: threading.Barrier) -> None:
    trust = ssl.create_default_context(cafile=wanted["authority"])
    where = f"/api/v1/namespaces/{names.TOKENS_NAMESPACE}/secrets"
    # As of any version: for the newest one the API server may wait until another Secret changes.
    query = f"watch=1&resourceVersion=0&fieldSelector=metadata.name%3D{name}"
    headers = {"Authorization": f"Bearer {wanted['token']}"}
    told, first = b"", True
    for _ in range(_TRIES):
        connection = HTTPSConnection("127.0.0.1", wanted["port"], context=trust)
        connection.request("GET", f"{where}?{query}", headers=headers)
        answer = connection.getresponse()
        while told := answer.readline():
            data = json.loads(told).get("object", {}).get("data")
            if data is None:
                break
            _write(wanted["files"][name], base64.b64decode(data["access_token"]))
            if first:
                standing.wait()
                first = False
        # An API server that has just started refuses a watch, or ends it with an error.
        time.sleep(_PAUSE)
    raise DriverError(f"the API server answers {told[:300]!r}")


def _write(files: Sequence[str], content: bytes) -> None:
    for file in files:
        descriptor = os.open(file, os.O_WRONLY)
        os.pwrite(descriptor, content, 0)
        os.close(descriptor)


def _end(failure: threading.ExceptHookArgs) -> None:
    """Without one of its threads the process would wait for ever."""
    sys.__excepthook__(failure.exc_type, failure.exc_value or Exception(), failure.exc_traceback)
    os._exit(1)


def main() -> None:
    """Follow until standard input ends."""
    wanted = json.loads(sys.stdin.readline())
    threading.excepthook = _end
    standing = threading.Barrier(len(wanted["files"]) + 1)
    for name in wanted["files"]:
        threading.Thread(target=_follow, args=(wanted, name, standing), daemon=True).start()
    standing.wait()
    print("watching", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
