"""A program that reads a token file as fast as it can and checks every read.

`python -m csidriver.demo.reader` takes its parameters as one JSON object on standard input, and
prints its running totals, one JSON object per line, until SIGTERM.
"""

import json
import os
import signal
import stat
import sys
import time
from dataclasses import asdict, dataclass, field

from csidriver.core.sensitive import Sensitive
from csidriver.demo.jwt import verify_jwt

REPORT_SECONDS = 0.2
# The readers must leave processor time to the demo.
_NICENESS = 10


@dataclass(slots=True)
class Tally:
    """The totals of one reader, and its last read."""

    reads: int = 0
    torn: int = 0
    expired: int = 0
    inode_changes: int = 0
    owner: str = ""
    inode: int = 0
    expires_at: float = 0.0
    # Hash of each token, and the epoch seconds of its first read.
    first_reads: list[tuple[str, float]] = field(default_factory=list)


class Reader:
    """Reads one file, in which `prefix` and `suffix` surround the token."""

    def __init__(self, path: str, key: bytes, prefix: str, suffix: str) -> None:
        self.tally = Tally()
        self._path = path
        self._key = key
        self._prefix = prefix.encode()
        self._suffix = suffix.encode()
        self._last_content: bytes | None = None

    def read(self, *, chunk: int) -> None:
        """Open, read in chunks of so many bytes, close, and check the content."""
        tally = self.tally
        before = time.time()
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            status = os.fstat(descriptor)
            chunks = []
            while part := os.read(descriptor, chunk):
                chunks.append(part)
        finally:
            os.close(descriptor)
        tally.reads += 1
        if status.st_ino != tally.inode:
            tally.inode_changes += bool(tally.inode)
            tally.inode = status.st_ino
        content = b"".join(chunks)
        if content != self._last_content:
            tally.owner = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
            self._check_content(content)
        if 0 < tally.expires_at <= before:
            tally.expired += 1

    def _check_content(self, content: bytes) -> None:
        """Count changed content as a whole token or a torn read."""
        whole = content.startswith(self._prefix) and content.endswith(self._suffix)
        end = len(content) - len(self._suffix)
        token = content[len(self._prefix) : end].decode("ascii", "replace")
        claims = verify_jwt(token, self._key) if whole else None
        expiry = None if claims is None else claims.get("exp")
        if not isinstance(expiry, int | float):
            self.tally.torn += 1
            return
        self._last_content = content
        self.tally.expires_at = float(expiry)
        self.tally.first_reads.append((Sensitive(token).hash(), time.time()))


def main() -> None:
    parameters = json.loads(sys.stdin.readline())
    prefix, _, suffix = parameters["template"].partition("$(ACCESS_TOKEN)")
    reader = Reader(parameters["path"], bytes.fromhex(parameters["key"]), prefix, suffix)
    os.nice(_NICENESS)
    next_report = 0.0
    # The demo has blocked SIGTERM, so that it stays pending until the loop asks.
    while not signal.sigpending() & {signal.SIGTERM}:
        # Programs read files whole or in small chunks: do both, in turn.
        reader.read(chunk=65536 if reader.tally.reads % 2 else 512)
        if time.monotonic() >= next_report:
            next_report = time.monotonic() + REPORT_SECONDS
            print(json.dumps(asdict(reader.tally)), flush=True)  # noqa: T201 - the report
    print(json.dumps(asdict(reader.tally)), flush=True)  # noqa: T201 - the report


if __name__ == "__main__":
    main()
