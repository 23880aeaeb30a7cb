"""How soon a new token is in every file, counted from the refresher's request to the API server.

Beside it a bare watcher, which writes the same bytes to as many files of its own.
"""

import base64
import json
import os
import random
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from multiprocessing.connection import Connection
from pathlib import Path

from bench.node import FULL_NODE, SOURCES, Stand
from bench.processes import MEMORY, TIMEOUT, Child
from bench.report import Row, shares
from csidriver.core import names
from csidriver.core.names import SourceRef
from csidriver.errors import DriverError

_SIZES = (1, 10, FULL_NODE)
_PAUSE = 0.0003  # seconds between two questions; who opened a file would refuse the lease


_Group = tuple[SourceRef, list[str]]  # a source, and the files with its token


def measure(*, quick: bool) -> Iterator[Row]:
    """Change tokens that few or many files show, of ours and of the bare watcher in turn."""
    rounds, changes = (2, 5) if quick else (3, 60)
    with Stand() as stand:
        stand.start()
        stand.callback(stand.stop)
        ours, bare = _publish(stand), _make_files()
        plane, shown = stand.admin.plane, {ref.companion: files for ref, files in bare}
        arguments = plane.port, plane.ca, stand.admin.token, shown
        stand.enter_context(Child(watch_bare, *arguments))
        # Until the bare watcher watches.
        for group in bare:
            _change(stand, group)
        for group, floor in zip(ours, bare, strict=True):
            pairs = [
                [(_change(stand, group), _change(stand, floor)) for _ in range(changes)]
                for _ in range(rounds)
            ]
            taken, least = ([[pair[at] for pair in of] for of in pairs] for at in (0, 1))
            key, is_full = f"fanout_{len(group[1])}", len(group[1]) == FULL_NODE
            target, ratio = ("<= 150", "fanout_ratio_floor") if is_full else ("", "")
            yield Row(f"{key}_p99_ms", shares(taken, 0.99), target, shares(least, 0.99))
            yield Row(f"{key}_p50_ms", shares(taken), "", shares(least), ratio)


def _publish(stand: Stand) -> list[_Group]:
    groups, first = [], 0
    for size, ref in zip(_SIZES, SOURCES, strict=False):
        numbers = range(first, first + size)
        first += size
        stand.publish([(number, ref) for number in numbers])
        groups.append((ref, [stand.file(number) for number in numbers]))
    return groups


def _make_files() -> list[_Group]:
    groups = []
    for size, ref in zip(_SIZES, SOURCES[len(_SIZES) :], strict=False):
        files = [MEMORY / f"bare-{size}-{number}" for number in range(size)]
        for file in files:
            file.touch()
        groups.append((ref, [str(file) for file in files]))
    return groups


def _change(stand: Stand, group: _Group) -> float:
    """Milliseconds from the request of one new token until its last file was written."""
    time.sleep(random.uniform(0.005, 0.025))  # noqa: S311 - no secret
    ref, files = group
    old = {file: Path(file).stat().st_mtime_ns for file in files}
    began = ended = time.monotonic()
    token = stand.change(ref)
    while old:
        if time.monotonic() > began + TIMEOUT:
            raise DriverError(f"{len(old)} files do not have the new token")
        old = {file: at for file, at in old.items() if Path(file).stat().st_mtime_ns == at}
        ended = time.monotonic()
        time.sleep(_PAUSE)
    for file in files:
        if Path(file).read_text(encoding="ascii") != token:
            raise DriverError(f"{file} does not hold the new token")
    return 1000 * (ended - began)


def watch_bare(
    _: Connection, port: int, ca: Path, token: str, shown: Mapping[str, Sequence[str]]
) -> None:
    """Watch each companion, and write its token to files with pwrite(2): no check, no lease."""

    def follow(name: str) -> None:
        trust = ssl.create_default_context(cafile=str(ca))
        server = HTTPSConnection("127.0.0.1", port, context=trust)
        # As of any version: for the newest one the API server may wait for another change.
        query = f"watch=1&resourceVersion=0&fieldSelector=metadata.name%3D{name}"
        path = f"/api/v1/namespaces/{names.TOKENS_NAMESPACE}/secrets?{query}"
        server.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = server.getresponse()
        while line := answer.readline():
            content = base64.b64decode(json.loads(line)["object"]["data"]["access_token"])
            for file in shown[name]:
                descriptor = os.open(file, os.O_WRONLY)
                os.pwrite(descriptor, content, 0)
                os.close(descriptor)

    with ThreadPoolExecutor(len(shown)) as pool:
        list(pool.map(follow, shown))
