"""What the webhook identifies itself with, wherever it comes from, and what that is made with."""

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from csidriver.core.admission.certificates import Certificate
from csidriver.core.sensitive import Sensitive


class CertificateFactory(Protocol):
    """Makes and reads certificates; see `adapters.pki`."""

    def new_authority(self, now: float, lifetime: float) -> tuple[Certificate, Sensitive]:
        """An authority, and its key."""

    def issue_serving_certificate(
        self,
        authority: Certificate,
        authority_key: Sensitive,
        names: Iterable[str],
        now: float,
        lifetime: float,
    ) -> tuple[Certificate, Sensitive]:
        """A server's certificate, and its key."""

    def certificates(
        self, text: str, authorities: Sequence[Certificate] = ()
    ) -> tuple[Certificate, ...]:
        """The certificates of a PEM text, () if it is none."""

    def matches_key(self, key: Sensitive, certificate: Certificate) -> bool:
        """Whether this is the private key of the certificate."""

    def server_context(self, certificates: str, key: Sensitive) -> ssl.SSLContext:
        """A server's side of TLS; raises InvalidSettings."""


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """A certificate in use."""

    certificate: Certificate
    context: ssl.SSLContext


class Certificates(Protocol):
    """A source of certificates."""

    def context(self) -> ssl.SSLContext | None:
        """What to serve new connections with, None as long as there is nothing."""

    def problems(self) -> list[str]:
        """Why kube-apiserver would not accept us, nothing if it would."""

    def run(self, stop: Event) -> None:
        """Keep it current until `stop`."""


def certificate_problems(served: ServingCertificate | None, cause: str, now: float) -> list[str]:
    """What is wrong with what is served; `trouble` is why, if that is known."""
    if served is None:
        return [with_cause("there is no certificate yet", cause)]
    if served.certificate.expires <= now:
        return [with_cause("the certificate has expired", cause)]
    return []


def with_cause(problem: str, cause: str) -> str:
    """A problem, and why, if that is known and not the same."""
    return f"{problem}: {cause}" if cause and cause not in problem else problem
