"""One HTTP exchange over a connection of its own, under a deadline that nobody can stretch.

Whether anything can have been sent is known, not guessed: until the connection stands, its TLS
included, every failure means that nothing was. No text of a foreign exception leaves, for it may
quote a URL, a header or a body.
"""

import contextlib
import logging
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import requests
import urllib3

from csidriver.adapters.oauth.connection import AbortableAdapter, AbortableConnection
from csidriver.adapters.oauth.tls_contexts import TlsContexts
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.sensitive import Sensitive

log = logging.getLogger(__name__)

# Real answers have 2-8 KiB; whoever sends more is not a token endpoint.
MAX_BODY = 1 << 20
CONNECT_TIMEOUT = 5.0
_CHUNK = 16384
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "oauth2-csi",
}


class RequestFailed(Exception):
    """The exchange ended without an answer."""

    def __init__(self, reason: FailureReason) -> None:
        self.reason = reason
        super().__init__(reason.value)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What to send. Not to be shown: form and headers hold secrets."""

    method: str
    url: str
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What came back; not `whole` if the deadline cut it short."""

    status: int
    body: Sensitive
    retry_after: str
    is_complete: bool


def send_request(
    issuer: Issuer, tls_contexts: TlsContexts, request: HttpRequest, deadline: float
) -> HttpResponse:
    """Send one request and read its answer; `deadline` is an instant of `time.monotonic`.

    No redirect is followed, and neither netrc nor the environment is asked for anything.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise RequestFailed(FailureReason.UNREACHABLE)
    context = _tls_context(issuer, tls_contexts, request.url)
    proxies = {"http": issuer.proxy, "https": issuer.proxy} if issuer.proxy else {}
    # For whoever compares our log with the server's; drawn at random, it says nothing.
    name = secrets.token_hex(8)
    own = {**_HEADERS, "X-Request-ID": name}
    connection = AbortableConnection(deadline)
    try:
        # Not through a Session: it would look for credentials and prepare to follow redirects.
        prepared = requests.Request(
            request.method, request.url, {**own, **request.headers}, data=request.form
        ).prepare()
        with (
            connection,
            contextlib.closing(AbortableAdapter(connection, context)) as adapter,
            adapter.send(
                prepared,
                stream=True,
                timeout=(min(CONNECT_TIMEOUT, left), left),
                proxies=proxies,
            ) as response,
        ):
            body, whole = _read(response)
            after = response.headers.get("Retry-After", "")
            log.debug("issuer %s: request %s: %d", issuer.name, name, response.status_code)
            return HttpResponse(
                response.status_code, body, after, whole and not connection.is_aborted
            )
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        end = RequestFailed(_failure_reason(error, sent=connection.is_established))
        log.debug("issuer %s: request %s: %s", issuer.name, name, end)
        raise end from None


def _tls_context(issuer: Issuer, tls_contexts: TlsContexts, url: str) -> ssl.SSLContext | None:
    if not (url.startswith("https:") or issuer.proxy.startswith("https:")):
        return None
    try:
        return tls_contexts.context(issuer.ca_file)
    except OSError:
        raise RequestFailed(FailureReason.TLS) from None


def _read(response: requests.Response) -> tuple[Sensitive, bool]:
    """The body, and whether it ended as its headers said; tokens in a broken one are kept."""
    body, whole = b"", True
    try:
        while chunk := response.raw.read1(_CHUNK):
            body += chunk
            if len(body) > MAX_BODY:
                raise RequestFailed(FailureReason.BAD_REPLY)
    except (urllib3.exceptions.HTTPError, OSError):
        whole = False
    return Sensitive(body.decode("utf-8-sig", "replace")), whole


def _failure_reason(error: Exception, *, sent: bool) -> FailureReason:
    if sent:
        return FailureReason.NO_ANSWER
    distrusted = any(isinstance(link, ssl.SSLCertVerificationError) for link in _error_chain(error))
    return FailureReason.TLS if distrusted else FailureReason.UNREACHABLE


def _error_chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, however the libraries have linked it."""
    link: object = error
    while isinstance(link, BaseException):
        yield link
        inner = link.args[0] if link.args else None
        link = getattr(link, "reason", None) or link.__cause__ or link.__context__ or inner
