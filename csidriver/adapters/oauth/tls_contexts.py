"""Whom to trust: one TLS context per file of authorities, made anew when the file changes."""

import ssl
import threading
from pathlib import Path

from requests.adapters import DEFAULT_CA_BUNDLE_PATH

# Configured issuers have few; more means that files were renamed and old ones are not used again.
_MAX_CONTEXTS = 64

_Version = tuple[int, int, int]


class TlsContexts:
    """TLS contexts by file. Reading a bundle takes 40 ms, far too much for every exchange."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: dict[str, tuple[_Version, ssl.SSLContext]] = {}

    def context(self, ca_file: str) -> ssl.SSLContext:
        """The context that trusts the authorities in a file, by default requests' own.

        Raises OSError (ssl.SSLError is one) if the file holds none; that is not remembered.
        """
        path = ca_file or DEFAULT_CA_BUNDLE_PATH
        found = Path(path).stat()
        version = found.st_mtime_ns, found.st_size, found.st_ino
        with self._lock:
            seen, context = self._contexts.get(path, (None, None))
        if context is None or seen != version:
            context = _new_context(path)
            with self._lock:
                if len(self._contexts) >= _MAX_CONTEXTS:
                    self._contexts.clear()
                self._contexts[path] = version, context
        return context


def _new_context(path: str) -> ssl.SSLContext:
    # By hand: what `ssl` and urllib3 make would also write TLS secrets where SSLKEYLOGFILE says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates and host names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.load_verify_locations(cafile=path)
    return context
