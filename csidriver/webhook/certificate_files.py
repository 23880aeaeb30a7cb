"""Certificates from files that somebody else renews, such as cert-manager."""

import logging
import ssl
import threading
from pathlib import Path

from csidriver.clock import WaitingClock
from csidriver.config import CertificateFiles
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings
from csidriver.webhook.certificate_source import (
    CertificateFactory,
    ServingCertificate,
    certificate_problems,
)
from csidriver.webhook.metrics import WebhookMetrics

log = logging.getLogger(__name__)

# Seconds between two looks. Kubelet itself needs a minute to bring a change.
_POLL = 2.0
_MAX_SIZE = 1 << 20

_Version = tuple[int, int, int]


class FileCertificates:
    """What stands in two files. What cannot be used changes nothing: the former stays in use."""

    def __init__(
        self,
        files: CertificateFiles,
        factory: CertificateFactory,
        clock: WaitingClock,
        metrics: WebhookMetrics,
    ) -> None:
        self._files = files
        self._factory = factory
        self._clock = clock
        self._metrics = metrics
        self._served: ServingCertificate | None = None
        self._versions: list[_Version | None] = []
        self._error = "the files were not read yet"

    def context(self) -> ssl.SSLContext | None:
        """What to serve new connections with, None as long as there is nothing."""
        served = self._served
        return None if served is None else served.context

    def problems(self) -> list[str]:
        """Why kube-apiserver would not accept us, nothing if it would."""
        return certificate_problems(self._served, self._error, self._clock.now())

    def run(self, stop: threading.Event) -> None:
        """Read them again whenever they change, until `stop`."""
        while not stop.is_set():
            self.reload()
            self._clock.wait(stop, _POLL)

    def reload(self) -> None:
        """Take what is there now, if it has changed."""
        files = self._files.certificate, self._files.key
        stamps = [_version(file) for file in files]
        if stamps == self._versions:
            return
        try:
            self._served = self._read()
        except InvalidSettings as error:
            if str(error) != self._error:
                log.error("%s", error)  # noqa: TRY400 - the text is all there is to say
            self._error = str(error)
            return
        # The two change one after the other: only a pair that fits counts as seen.
        self._versions, self._error = stamps, ""
        self._metrics.expiry.set(self._served.certificate.expires)
        log.info("serving the certificate in %s", files[0])

    def _read(self) -> ServingCertificate:
        """Raises InvalidSettings, which names files and shows nothing of them."""
        certificate, key = self._files.certificate, self._files.key
        texts = [_read_text(file) for file in (certificate, key)]
        problems = [f"{file} cannot be read" for file in self._unread(texts)]
        found = self._factory.certificates(texts[0] or "")
        if texts[0] is not None and not found:
            problems.append(f"{certificate} holds no certificate")
        if (
            found
            and texts[1] is not None
            and not self._factory.matches_key(Sensitive(texts[1]), found[0])
        ):
            problems.append(f"{key} is not the key of {certificate}")
        if problems:
            raise InvalidSettings("certificate files", problems)
        return ServingCertificate(
            found[0], self._factory.server_context(str(texts[0]), Sensitive(str(texts[1])))
        )

    def _unread(self, texts: list[str | None]) -> list[Path]:
        files = (self._files.certificate, self._files.key)
        return [file for file, text in zip(files, texts, strict=True) if text is None]


def _read_text(file: Path) -> str | None:
    """The text of a PEM file, None if it is not to be had."""
    try:
        with file.open(encoding="ascii") as opened:
            return opened.read(_MAX_SIZE)
    except (OSError, ValueError):
        return None


def _version(file: Path) -> _Version | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
