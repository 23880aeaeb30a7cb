"""A source of serving certificates, and the problems of the one in use."""

import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass
from threading import Event

from csidriver.core.admission.certificates import Certificate
from csidriver.core.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """A certificate in use: its PEM text, with those that lead to its CA, and its key."""

    certificate: Certificate
    context: ssl.SSLContext
    chain: str
    key: Sensitive


class Certificates(ABC):
    """A source of serving certificates. Once there is one, there always is."""

    _served: ServingCertificate | None = None

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context for new connections, None without a certificate."""
        return None if self._served is None else self._served.context

    def pair(self) -> tuple[str, Sensitive] | None:
        """Return the chain and the key, None without a certificate."""
        return None if self._served is None else (self._served.chain, self._served.key)

    @abstractmethod
    def problems(self) -> list[str]:
        """Return why clients would reject the certificate."""

    @abstractmethod
    def run(self, stop: Event) -> None:
        """Keep the certificate current until `stop`."""


def certificate_problems(served: ServingCertificate | None, cause: str, now: float) -> list[str]:
    """Return the problems of the served certificate, with their `cause` if it is known."""
    if served is None:
        return [with_cause("there is no certificate yet", cause)]
    if served.certificate.expires <= now:
        return [with_cause("the certificate has expired", cause)]
    return []


def with_cause(problem: str, cause: str) -> str:
    """Append a cause that is not empty and not yet part of the text."""
    return f"{problem}: {cause}" if cause and cause not in problem else problem
