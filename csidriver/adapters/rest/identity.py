"""The credentials as of now: token and TLS material are read again when they may have changed."""

import contextlib
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from csidriver.adapters.rest.credentials import Credentials
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreUnavailable

# What tells one state of a file from the next; kubelet replaces projected files by rename.
_Stamp = tuple[int, int, int]


class Identity:
    """Who we are to the API server. `token_age` in seconds."""

    def __init__(
        self, credentials: Credentials, monotonic: Callable[[], float], token_age: float
    ) -> None:
        self._credentials = credentials
        self._monotonic = monotonic
        self._token_age = token_age
        self._lock = threading.Lock()
        self._token = credentials.token or Sensitive("")
        self._read_at: float | None = None
        self._context: ssl.SSLContext | None = None
        self._stamps: list[_Stamp | None] = []

    @property
    def can_renew(self) -> bool:
        """Whether another look may find another token."""
        return self._credentials.token_file is not None

    def token(self, *, anew: bool = False) -> Sensitive:
        """The bearer token, "" if there is none; one that cannot be read again stays in use."""
        file = self._credentials.token_file
        with self._lock:
            now = self._monotonic()
            due = self._read_at is None or now - self._read_at >= self._token_age
            if file is not None and (due or anew):
                found = _read(file)
                if found:
                    self._token, self._read_at = found, now
                elif not self._token:
                    raise StoreUnavailable(f"token file {file} cannot be read or is empty")
            return self._token

    def context(self) -> ssl.SSLContext:
        """The TLS side; one that cannot be made anew from changed files stays in use."""
        known = self._credentials
        files = [f for f in (known.authorities, known.certificate, known.key) if f is not None]
        with self._lock:
            stamps = [_stamp(file) for file in files if isinstance(file, Path)]
            if self._context is None or stamps != self._stamps:
                made = _context(known)
                if made is not None:
                    self._context, self._stamps = made, stamps
            if self._context is not None:
                return self._context
        named = ", ".join(str(file) for file in files if isinstance(file, Path))
        raise StoreUnavailable(
            f"TLS material for {known.server} cannot be used; {named}".rstrip("; ")
        )


def _read(file: Path) -> Sensitive:
    try:
        return Sensitive(file.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return Sensitive("")


def _stamp(file: Path) -> _Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _context(credentials: Credentials) -> ssl.SSLContext | None:
    """A context, None if the material does not make one."""
    trusted = credentials.authorities
    try:
        if isinstance(trusted, Sensitive):
            context = ssl.create_default_context(cadata=trusted.reveal())
        else:
            context = ssl.create_default_context(cafile=trusted)
        # Many a cluster's own authority lacks what this flag asks for, and Go does not ask.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if credentials.certificate is not None and credentials.key is not None:
            with _as_file(credentials.certificate) as certificate, _as_file(credentials.key) as key:
                # An encrypted key must not ask a terminal for its password.
                context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError):
        return None
    return context


@contextlib.contextmanager
def _as_file(material: Path | Sensitive) -> Iterator[Path]:
    """A file for `ssl`, which takes nothing else; for an inline text only as long as needed."""
    if isinstance(material, Path):
        yield material
        return
    # Of mode 0600.
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:
        file.write(material.reveal())
        file.flush()
        yield Path(file.name)
