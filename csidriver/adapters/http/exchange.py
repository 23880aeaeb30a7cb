"""One HTTP exchange over a connection of its own, under a deadline that nobody can stretch.

Whether anything can have been sent is known, not guessed: until the connection stands, its TLS
included, every failure means that nothing was. No text of a foreign exception leaves, for it may
quote a URL, a header or a body.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from csidriver.core.issuers import Issuer
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Signal

# Real answers have 2-8 KiB; whoever sends more is not a token endpoint.
MAX_BODY = 1 << 20
CONNECT_TIMEOUT = 5.0
_CHUNK = 16384
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "oauth2-csi",
}


class Answerless(Exception):
    """The exchange ended without an answer."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        super().__init__(signal.value)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; not `whole` if the deadline cut it short."""

    status: int
    body: Sensitive
    retry_after: str
    whole: bool


def exchange(
    issuer: Issuer,
    method: str,
    url: str,
    deadline: float,
    *,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request and read its answer; `deadline` is an instant of `time.monotonic`.

    No redirect is followed, and neither netrc nor the environment is asked for anything.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise Answerless(Signal.UNREACHABLE)
    trust = _trust(issuer)
    proxies = {"http": issuer.proxy, "https": issuer.proxy} if issuer.proxy else {}
    line = _Line(deadline)
    try:
        # Not through a Session: it would look for credentials and prepare to follow redirects.
        request = requests.Request(method, url, {**_HEADERS, **(headers or {})}, data=form)
        with (
            line,
            contextlib.closing(_Adapter(line)) as adapter,
            adapter.send(
                request.prepare(),
                stream=True,
                timeout=(min(CONNECT_TIMEOUT, left), left),
                verify=trust,
                proxies=proxies,
            ) as response,
        ):
            body, whole = _read(response)
            after = response.headers.get("Retry-After", "")
            return Answer(response.status_code, body, after, whole and not line.cut)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise Answerless(_signal(error, sent=line.stands)) from None


class _Line:
    """The one connection of an exchange: cut at the deadline, `stands` once it can carry bytes."""

    def __init__(self, deadline: float) -> None:
        self.stands = False
        self.cut = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(deadline - time.monotonic(), self._cut)
        self._timer.daemon = True

    def hold(self, connected: socket.socket) -> None:
        """Remember the socket, so that the deadline ends the TLS handshake too."""
        with self._lock:
            self._refuse_if_late()
            # A duplicate: TLS takes the descriptor away from the socket it wraps.
            self._socket = connected.dup()

    def stand(self) -> None:
        """From here on something may have been sent."""
        with self._lock:
            self._refuse_if_late()
            self.stands = True

    def _refuse_if_late(self) -> None:
        if self.cut:
            raise TimeoutError("the deadline has passed")

    def _cut(self) -> None:
        with self._lock:
            self.cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


class _Connection(HTTPConnection):
    """A connection that tells its line how far it got."""

    def __init__(self, *args: Any, line: _Line, **options: Any) -> None:
        self._line = line
        super().__init__(*args, **options)

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        try:
            self._line.hold(connected)
        except OSError:
            connected.close()
            raise
        return connected

    def connect(self) -> None:
        super().connect()
        self._line.stand()


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Adapter(HTTPAdapter):
    """Makes connections that know their line; no retries."""

    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        secure = pool.scheme == "https"
        pool.ConnectionCls = _SecureConnection if secure else _Connection
        pool.conn_kw["line"] = self._line
        return pool


def _trust(issuer: Issuer) -> str | bool:
    """What `verify` takes; the issuer's own authorities are read anew for each connection."""
    if not issuer.ca_file:
        return True
    try:
        ssl.create_default_context(cafile=issuer.ca_file)
    except (OSError, ValueError):
        raise Answerless(Signal.TLS) from None
    return issuer.ca_file


def _read(response: requests.Response) -> tuple[Sensitive, bool]:
    """The body, and whether it ended as its headers said; tokens in a broken one are kept."""
    body, whole = b"", True
    try:
        while chunk := response.raw.read1(_CHUNK):
            body += chunk
            if len(body) > MAX_BODY:
                raise Answerless(Signal.BAD_REPLY)
    except (urllib3.exceptions.HTTPError, OSError):
        whole = False
    return Sensitive(body.decode("utf-8-sig", "replace")), whole


def _signal(error: Exception, *, sent: bool) -> Signal:
    if sent:
        return Signal.NO_ANSWER
    distrusted = any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(error))
    return Signal.TLS if distrusted else Signal.UNREACHABLE


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, however the libraries have linked it."""
    link: object = error
    while isinstance(link, BaseException):
        yield link
        inner = link.args[0] if link.args else None
        link = getattr(link, "reason", None) or link.__cause__ or link.__context__ or inner
