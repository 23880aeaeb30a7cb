"""The spool keeps a token request and its reply across a crash, until the outcome is stored.

It is one 0600 file per grant, in a folder that is in memory in a cluster. A file may contain a
refresh token that exists nowhere else. A reply that cannot be written stays in this process.
"""

import contextlib
import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Any

from csidriver.core.names import SourceRef
from csidriver.core.oauth.token_document import MAX_STORED, DocumentError, TokenDocument
from csidriver.core.refresh.effects import SpoolEntry
from csidriver.core.sensitive import Sensitive
from csidriver.errors import SpoolFailed
from csidriver.files import FileLock

_NAME, _LOCK = ".owner", ".lock"


class Spool:
    """Files in one folder, which the first entry creates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, SpoolEntry] = {}

    def read(self, ref: SourceRef) -> SpoolEntry | None:
        """Return the entry of a grant, None if it does not exist. Raise SpoolFailed."""
        kept = self._kept.get(ref.id)
        if kept is not None:
            self.write(ref, kept)
            return kept
        try:
            return _parse_entry(json.loads(self._path(ref).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, DocumentError) as error:
            raise SpoolFailed(f"{self._path(ref)}: {type(error).__name__}") from None

    def write(self, ref: SourceRef, entry: SpoolEntry) -> None:
        """Write an entry, which survives a crash; keep a reply in memory if that fails.

        Raise SpoolFailed for an entry without a reply.
        """
        self._kept.pop(ref.id, None)
        content = {
            "nonce": entry.nonce,
            "sentAt": entry.sent_at,
            "rt": entry.refresh_token_hash,
            "reply": None if entry.reply is None else entry.reply.to_json().reveal(),
        }
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._path(ref), json.dumps(content))
        except OSError as error:
            if entry.reply is None:
                raise SpoolFailed(f"{self._path(ref)}: {error.strerror}") from error
            self._kept[ref.id] = entry

    def clear(self, ref: SourceRef) -> None:
        """Delete an entry if it exists. Raise SpoolFailed."""
        self._kept.pop(ref.id, None)
        try:
            self._path(ref).unlink(missing_ok=True)
        except OSError as error:
            raise SpoolFailed(f"{self._path(ref)}: {error.strerror}") from error

    def ids(self) -> set[str]:
        """Return the ids of the tokens with an entry, as far as the folder can be read."""
        ids = set(self._kept)
        with contextlib.suppress(OSError):
            ids |= {path.stem for path in self._folder.iterdir() if path.suffix == ".json"}
        return ids

    def _path(self, ref: SourceRef) -> Path:
        return self._folder / f"{ref.id}.json"


class SpoolLock:
    """The identity of a spool folder, and the lock of the process that works with it.

    A process recovers its own intents from its spool, so two processes must never use the same
    name, whatever their flags say. Not for several threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / _LOCK)

    def folder_id(self) -> str:
        """Return the name of the folder, which every process finds there. Raise SpoolFailed."""
        path = self._folder / _NAME
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._read_id(path) or self._create_id(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SpoolFailed(f"{path}: {type(error).__name__}") from error

    def acquire(self) -> bool:
        """Take the lock; return False while another process has it. Raise SpoolFailed."""
        try:
            return self._lock.acquire()
        except OSError as error:
            raise SpoolFailed(f"{self._folder / _LOCK}: {error.strerror}") from error

    def release(self) -> None:
        self._lock.release()

    def _read_id(self, path: Path) -> str:
        """Return the name, "" without one: a power failure may have left an empty file."""
        return path.read_text(encoding="ascii") if path.exists() else ""

    def _create_id(self, path: Path) -> str:
        """Name the folder, once, even if other processes do the same."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if folder_id := self._read_id(path):
                return folder_id
            folder_id = secrets.token_hex(8)
            write_durably(path, folder_id)
            return folder_id
        finally:
            os.close(folder)


def write_durably(path: Path, text: str) -> None:
    """Replace a file; a crash or a power failure leaves the old content or the new one."""
    draft = path.with_suffix(".draft")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    # For a folder that is not in memory.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parse_entry(content: dict[str, Any]) -> SpoolEntry:
    reply = content["reply"]
    return SpoolEntry(
        nonce=str(content["nonce"]),
        sent_at=float(content["sentAt"]),
        refresh_token_hash=str(content.get("rt", "")),
        # Encode it once: an invalid Unicode text could never be stored.
        reply=None
        if reply is None
        else TokenDocument.parse(Sensitive(str(reply).encode().decode()), MAX_STORED)[0],
    )
