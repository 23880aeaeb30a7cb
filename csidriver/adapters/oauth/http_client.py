"""HTTP requests with a deadline that no server can extend.

Whether anything can have been sent is known, not guessed: until the connection and its TLS are
established, every failure means that nothing was sent, as does a later alert of a refused
certificate. No text of a foreign exception leaves this
module, because it may quote a URL, a header or a body.
"""

import contextlib
import logging
import re
import secrets
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

import requests
import urllib3

from csidriver.adapters.oauth.connection import AbortableAdapter, AbortableConnection
from csidriver.adapters.oauth.tls_contexts import TlsContexts
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.sensitive import Sensitive
from csidriver.errors import chain

log = logging.getLogger(__name__)

# After decoding. Real responses have 2-8 KiB; a server that sends more is not a token endpoint.
MAX_BODY = 1 << 20
CONNECT_TIMEOUT = 5.0
_CHUNK = 16384
_CERTIFICATE_ALERT = re.compile("ALERT_(.*CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)")
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "oauth2-csi",
}


class RequestFailed(Exception):
    """The request brought no response."""

    def __init__(self, reason: FailureReason) -> None:
        self.reason = reason
        super().__init__(reason.value)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. Its form and headers contain secrets and are never shown."""

    method: str
    url: str
    form: Sequence[tuple[str, str]] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response; not `is_complete` if its body was cut off."""

    status: int
    body: Sensitive
    retry_after: str
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Instants of `time.monotonic`: nothing is sent after `send`, nothing read after `read`.

    `sent` is set before the first byte of the request.
    """

    send: float
    read: float
    sent: threading.Event | None = None


class HttpClient:
    """Sends requests to one server, one at a time, over one connection at a time."""

    def __init__(self, issuer: Issuer, context: ssl.SSLContext | None) -> None:
        self.issuer = issuer
        self.connection = AbortableConnection()
        self._adapter = AbortableAdapter(self.connection, context)

    def send(self, request: HttpRequest, deadlines: Deadlines) -> HttpResponse:
        """Send one request; follow no redirect, use neither netrc nor proxies of the environment.

        Raises RequestFailed.
        """
        issuer, connection = self.issuer, self.connection
        now = time.monotonic()
        timeout = deadlines.send - now
        if timeout <= 0:
            raise RequestFailed(FailureReason.UNREACHABLE)
        proxies = {"http": issuer.proxy, "https": issuer.proxy} if issuer.proxy else {}
        # Random, for comparing our log with the server's.
        request_id = secrets.token_hex(8)
        try:
            prepared = _prepare(request, request_id)
            with (
                connection.carry(deadlines.send, deadlines.read, deadlines.sent),
                self._adapter.send(
                    prepared,
                    stream=True,
                    timeout=(min(CONNECT_TIMEOUT, timeout), deadlines.read - now),
                    proxies=proxies,
                ) as response,
            ):
                body, is_complete = _read_body(response)
                is_complete = is_complete and not connection.is_aborted
                retry_after, status = response.headers.get("Retry-After", ""), response.status_code
                log.debug("issuer %s: request %s: %d", issuer.name, request_id, status)
                return HttpResponse(status, body, retry_after, is_complete)
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
        ) as error:
            failure = RequestFailed(_failure_reason(error, sent=connection.is_established))
            log.debug("issuer %s: request %s: %s", issuer.name, request_id, failure)
            raise failure from None

    def close(self) -> None:
        self._adapter.close()
        self.connection.close()


def _prepare(request: HttpRequest, request_id: str) -> requests.PreparedRequest:
    # Not through a Session: it would look for credentials and prepare to follow redirects.
    headers = {**_HEADERS, "X-Request-ID": request_id, **request.headers}
    body = None
    if request.form is not None:
        # Of pairs requests would first ask what protocols they have.
        body = urlencode(request.form)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    prepared = requests.PreparedRequest()
    prepared.prepare(request.method, request.url, headers, data=body)
    return prepared


def send_request(
    issuer: Issuer, tls_contexts: TlsContexts, request: HttpRequest, deadlines: Deadlines
) -> HttpResponse:
    """Send one request over a connection of its own; raises RequestFailed."""
    context = tls_context(issuer, tls_contexts, request.url)
    with contextlib.closing(HttpClient(issuer, context)) as client:
        return client.send(request, deadlines)


def tls_context(issuer: Issuer, tls_contexts: TlsContexts, url: str) -> ssl.SSLContext | None:
    """Return the context of a connection, None for plain HTTP; raises RequestFailed."""
    if not (url.startswith("https:") or issuer.proxy.startswith("https:")):
        return None
    try:
        return tls_contexts.context(issuer.ca_file)
    except OSError:
        raise RequestFailed(FailureReason.TLS) from None


def _read_body(response: requests.Response) -> tuple[Sensitive, bool]:
    """Return the body, and whether it is complete; a broken one may still contain tokens."""
    body, is_complete = b"", True
    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > MAX_BODY:
                raise RequestFailed(FailureReason.BAD_REPLY)
    except (urllib3.exceptions.HTTPError, OSError):
        is_complete = False
    return Sensitive(body.decode("utf-8-sig", "replace")), is_complete


def _failure_reason(error: Exception, *, sent: bool) -> FailureReason:
    if any(_is_certificate_refused(link) for link in chain(error)):
        return FailureReason.TLS
    return FailureReason.NO_ANSWER if sent else FailureReason.UNREACHABLE


def _is_certificate_refused(error: BaseException) -> bool:
    """Return True if either side has ended the TLS handshake because of a certificate.

    In TLS 1.3 the client learns of it after it has sent its request, of which the server reads
    nothing (RFC 8446 sections 4.4.2.4 and 6.2).
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    return isinstance(error, ssl.SSLError) and bool(_CERTIFICATE_ALERT.search(error.reason or ""))
