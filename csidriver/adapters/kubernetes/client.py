"""HTTP client of the API server: a typed interface to the connections of the `kubernetes` package.

Its own methods would take a quarter more CPU. Bodies are JSON, there are no models. No foreign
exception leaves this module or stays attached to ours, because it may contain a body or a header.
"""

import contextlib
import email.utils
import functools
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import urllib3
from kubernetes.client.rest import RESTClientObject

from csidriver.adapters.kubernetes.api_errors import NotFound, error_for
from csidriver.adapters.kubernetes.credentials import CredentialSource
from csidriver.adapters.kubernetes.json_stream import MAX_OBJECT_BYTES, parse_object
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.core.names import FIELD_MANAGER
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreError, StoreUnavailable, chain

# A peer that has vanished is noticed after half a minute, whether bytes of ours are on the way
# (user timeout, milliseconds) or not (probes, seconds).
_SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
]
# Workers, watches and the lease; further connections are closed after their request.
_CONNECTIONS = 64
_CHUNK = 1 << 16
_MAX_ERROR_BODY = 1 << 16
JSON = "application/json"
_WRITES = frozenset({"POST", "PUT", "PATCH"})
_T = TypeVar("_T")
_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times to wait, in seconds."""

    connect: float = 5.0
    read: float = 15.0
    # The length of one watch, chosen at random so that those of one process do not end together.
    watch: tuple[int, int] = (240, 480)
    # How long a watch may be silent: bookmarks come about once a minute.
    watch_silence: float = 150.0
    # At least, between two attempts of a watch; at random up to twice that.
    watch_retry: float = 0.5
    # The same for a namespace whose Secrets we have no right to read.
    refused_retry: float = 20.0
    # Between two checks whether a watch is to end.
    poll: float = 0.2

    @classmethod
    def within(cls, seconds: float) -> "Timeouts":
        """Return timeouts for requests that are useless after so many seconds."""
        return cls(connect=0.4 * seconds, read=0.6 * seconds)


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """Query, body and Accept header of a request; `accept` may name a representation."""

    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    accept: str = JSON


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """The object of a response, and the API server's clock (epoch seconds)."""

    document: dict[str, Any] = field(repr=False)
    server_time: float | None


def without_traceback(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Remove the traceback from errors that leave a method.

    Variables of its frames contain tokens and bodies, and a caller may keep an error for long.
    """

    @functools.wraps(method)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(*args, **kwargs)
        except StoreError as error:
            raise error.with_traceback(None) from None

    return wrapper


class KubernetesClient:
    """Client of one API server with one identity; all methods are thread-safe."""

    def __init__(self, credentials: CredentialSource, timeouts: Timeouts | None = None) -> None:
        self.timeouts = timeouts or Timeouts()
        self._timeout = urllib3.Timeout(connect=self.timeouts.connect, read=self.timeouts.read)
        self._credentials = credentials
        configuration = credentials.configuration
        # The transport must not repeat a request that may have arrived.
        configuration.retries = False
        configuration.connection_pool_maxsize = _CONNECTIONS
        configuration.socket_options = _SOCKET_OPTIONS
        pools: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
        self._connections = pools.connection_from_url(credentials.server)
        self._base_path = urlsplit(credentials.server).path

    def send(self, request: ApiRequest, options: RequestOptions | None = None) -> ApiResponse:
        """Send a request and read the response; raises StoreError unless it is a success."""
        with self.open(request, options or RequestOptions()) as response:
            body = self._translated(partial(response.read, MAX_OBJECT_BYTES + 1))
            return ApiResponse(parse_object(body), server_time(response))

    def send_or_none(
        self, request: ApiRequest, options: RequestOptions | None = None
    ) -> ApiResponse | None:
        """Like `send`, but return None if the object does not exist."""
        try:
            return self.send(request, options)
        except NotFound:
            return None

    @contextlib.contextmanager
    def open(
        self, request: ApiRequest, options: RequestOptions
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a request and yield the successful response, its body unread; raises StoreError."""
        authorization = self._credentials.authorization()
        response = self._send_once(request, options, authorization)
        unauthorized = response.status == HTTPStatus.UNAUTHORIZED
        if unauthorized and self._credentials.reload(authorization):
            response.close()
            response = self._send_once(request, options, self._credentials.authorization())
        try:
            if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                body = self._translated(partial(response.read, _MAX_ERROR_BODY))
                raise error_for(request, response.status, body)
            yield response
        finally:
            # After a complete read the connection is back in the pool; otherwise it is useless.
            if not response.closed:
                response.close()

    def chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        while chunk := self._translated(partial(response.read1, _CHUNK)):
            yield chunk

    def _send_once(
        self, request: ApiRequest, options: RequestOptions, authorization: Sensitive
    ) -> urllib3.BaseHTTPResponse:
        manager = {"fieldManager": FIELD_MANAGER} if request.method in _WRITES else {}
        path = self._base_path + request.path({**options.query, **manager})
        headers = {"Accept": options.accept, "User-Agent": FIELD_MANAGER}
        if options.body is not None:
            patching = request.method == "PATCH"
            headers["Content-Type"] = "application/merge-patch+json" if patching else JSON
        if authorization:
            headers["Authorization"] = authorization.reveal()
        send = partial(
            self._connections.urlopen,
            request.method,
            path,
            None if options.body is None else json.dumps(options.body),
            headers,
            timeout=self._timeout,
            redirect=False,
            preload_content=False,
        )
        return self._translated(send)

    def _translated(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            reason = _reason(error)
        # Outside of the handler, or Python would attach the foreign error to ours.
        raise StoreUnavailable(f"API server {self._credentials.server}: {reason}")


def server_time(response: urllib3.BaseHTTPResponse) -> float | None:
    """Return the API server's clock from the header Date (epoch seconds), None without one."""
    try:
        return email.utils.parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except (TypeError, ValueError):
        return None


def _reason(error: Exception) -> str:
    """Return the reason of a failure in words of our own."""
    links = list(chain(error))
    for error_type, reason in _REASONS.items():
        if any(isinstance(link, error_type) for link in links):
            return reason
    return "the connection failed"


_REASONS: dict[type[BaseException], str] = {
    ssl.SSLCertVerificationError: "its certificate is not trusted",
    ssl.SSLError: "the TLS connection failed",
    socket.gaierror: "its name cannot be resolved",
    urllib3.exceptions.NameResolutionError: "its name cannot be resolved",
    ConnectionRefusedError: "connection refused",
    urllib3.exceptions.TimeoutError: "no answer in time",
    TimeoutError: "no answer in time",
}
