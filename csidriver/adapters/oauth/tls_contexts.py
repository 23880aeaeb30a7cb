"""TLS contexts of issuers: one per file of CA certificates, replaced when the file changes."""

import ssl
from pathlib import Path

from requests.adapters import DEFAULT_CA_BUNDLE_PATH

from csidriver.files import stamp


class TlsContexts:
    """A cache: reading a file of CA certificates takes 40 ms, too long for every request."""

    def __init__(self) -> None:
        self._contexts: dict[str, tuple[object, ssl.SSLContext]] = {}

    def context(self, ca_file: str) -> ssl.SSLContext:
        """Return a context that trusts the CAs of a file, those of requests if it is "".

        Raises OSError (ssl.SSLError is one) if the file cannot be used.
        """
        path = ca_file or DEFAULT_CA_BUNDLE_PATH
        version = stamp(Path(path).stat())
        cached_version, context = self._contexts.get(ca_file, (None, None))
        if context is None or cached_version != version:
            context = _new_context(path)
            if ca_file:
                # The operator trusts what the file has, be it an intermediate CA. The default of
                # curl, and of Python 3.13.
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            self._contexts[ca_file] = version, context
        return context


def _new_context(path: str) -> ssl.SSLContext:
    # The contexts that `ssl` and urllib3 make would write TLS secrets to the file SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates and host names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.load_verify_locations(cafile=path)
    return context
