"""Certificates from files that another program renews, such as cert-manager."""

import logging
import threading
from pathlib import Path

from prometheus_client import Gauge

from csidriver.clock import WaitingClock
from csidriver.config import CertificateFiles
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings
from csidriver.webhook.certificate_source import (
    Certificates,
    ServingCertificate,
    certificate_problems,
)
from csidriver.webhook.x509 import CertificateFactory

log = logging.getLogger(__name__)

# Seconds between two checks. Kubelet itself needs a minute to update a mounted file.
_POLL = 2.0
_MAX_SIZE = 1 << 20


class FileCertificates(Certificates):
    """The certificate in two files. While they are not usable, the previous one stays in use."""

    def __init__(
        self,
        files: CertificateFiles,
        factory: CertificateFactory,
        clock: WaitingClock,
        expiry: Gauge,
    ) -> None:
        self._files = files
        self._factory = factory
        self._clock = clock
        self._expiry = expiry
        self._texts: tuple[str | None, Sensitive | None] = None, None
        self._error = "the files have not been read yet"

    def problems(self) -> list[str]:
        return certificate_problems(self._served, self._error, self._clock.now())

    def run(self, stop: threading.Event) -> None:
        """Read the files again whenever they change, until `stop`."""
        while not stop.is_set():
            self.reload()
            self._clock.wait(stop, _POLL)

    def reload(self) -> None:
        text, key_text = _read_text(self._files.certificate), _read_text(self._files.key)
        texts = text, None if key_text is None else Sensitive(key_text)
        if texts == self._texts and not self._error:
            return
        try:
            self._served = self._load(*texts)
        except InvalidSettings as error:
            if str(error) != self._error:
                log.error("%s", error)  # noqa: TRY400 - the text is all there is to say
            self._error = str(error)
            return
        # The files change one after the other: only a matching pair ends the loading.
        self._texts, self._error = texts, ""
        self._expiry.set(self._served.certificate.expires)
        log.info("serving the certificate in %s", self._files.certificate)

    def _load(self, text: str | None, key_text: Sensitive | None) -> ServingCertificate:
        """Raise InvalidSettings, which names the files and quotes nothing of them."""
        certificate, key = self._files.certificate, self._files.key
        found = self._factory.certificates(text or "")
        problems = []
        if text is None:
            problems.append(f"{certificate} cannot be read")
        elif not found:
            problems.append(f"{certificate} contains no certificate")
        if key_text is None:
            problems.append(f"{key} cannot be read")
        elif found and not self._factory.matches_key(key_text, found[0]):
            problems.append(f"{key} is not the key of {certificate}")
        if problems or text is None or key_text is None:
            raise InvalidSettings("certificate files", problems)
        context = self._factory.server_context(text, key_text)
        return ServingCertificate(found[0], context, text, key_text)


def _read_text(file: Path) -> str | None:
    try:
        with file.open(encoding="ascii") as opened:
            return opened.read(_MAX_SIZE)
    except (OSError, ValueError):
        return None
