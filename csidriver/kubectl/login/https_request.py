"""One HTTP request of a login: no redirect is followed, size and time are bounded.

No text of a foreign exception leaves this module, because it may quote a URL, a header or a body.
"""

import base64
import contextlib
import http.client
import queue
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, unquote, urlencode, urlsplit
from urllib.request import (  # type: ignore[attr-defined] # typeshed lacks one of them
    getproxies_environment,
    proxy_bypass_environment,
)

from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.loopback import is_loopback

MAX_BODY = 1 << 20
TIMEOUT = 20.0
_CHUNK = 16384
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "kubectl-oauth2-csi",
}
# By OpenSSL's codes X509_V_ERR.
_CERTIFICATE_FAULTS = {
    9: "is not valid yet, or the clock of this machine is slow",
    10: "has expired, or the clock of this machine is fast",
    62: "is of a server of another name",
    64: "is of a server of another address",
}
_UNTRUSTED = "is not trusted on this machine; name the file of its CA with --ca-file"
_FORM = "application/x-www-form-urlencoded"


class NoAnswer(LoginFailed):
    """A server that cannot be reached, or does not answer; a later request may succeed."""


@dataclass(frozen=True, slots=True)
class HttpsRequest:
    """A request: POST with a form, else GET. Form and headers may contain secrets."""

    url: str
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class UntrustedCertificate(LoginFailed):
    """A server whose certificate does not prove who it is."""


@dataclass(frozen=True, slots=True)
class HttpsResponse:
    """A complete response; `date` and `age` are headers.

    `certificate` is the time for which the server's is valid, in epoch seconds; None without TLS.
    """

    status: int
    body: Sensitive
    date: str = ""
    age: str = ""
    certificate: tuple[float, float] | None = None


class HttpsClient:
    """Sends requests. `ca_file` has the CAs to trust, those of the system if it is ""."""

    def __init__(self, ca_file: str = "", timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._context = _tls_context(ca_file)

    def send(self, request: HttpsRequest) -> HttpsResponse:
        """Send a request and return its response; raise NoAnswer or LoginFailed."""
        parts = urlsplit(request.url)
        proxy = _proxy(parts)
        connection, target = self._connection(parts, proxy)
        headers = dict(request.headers)
        if proxy is not None and parts.scheme == "http":
            headers |= _proxy_headers(proxy)
        way = " through the proxy of the environment" if proxy else ""
        try:
            return _within(self._timeout, connection, request, target, headers)
        except ssl.SSLCertVerificationError as error:
            fault = _CERTIFICATE_FAULTS.get(error.verify_code, _UNTRUSTED)
            raise UntrustedCertificate(f"the certificate of {parts.netloc} {fault}") from None
        except ssl.SSLError:
            raise NoAnswer(f"{parts.netloc} ends the TLS connection{way}") from None
        except (OSError, http.client.HTTPException, ValueError):
            raise NoAnswer(f"{parts.netloc} cannot be reached{way}, or does not answer") from None

    def _connection(
        self, parts: SplitResult, proxy: SplitResult | None
    ) -> tuple[http.client.HTTPConnection, str]:
        """Return a connection, not yet open, and the target of the request line."""
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        server = proxy or parts
        host, port = str(server.hostname), server.port
        if proxy is not None and parts.scheme == "http":
            return self._plain(host, port), f"http://{parts.netloc}{target}"
        if parts.scheme == "http":
            return self._plain(host, port), target
        connection = http.client.HTTPSConnection(
            host, port or (80 if proxy else 443), timeout=self._timeout, context=self._context
        )
        if proxy is not None:
            connection.set_tunnel(str(parts.hostname), parts.port or 443, _proxy_headers(proxy))
        return connection, target

    def _plain(self, host: str, port: int | None) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(host, port or 80, timeout=self._timeout)


def _within(
    seconds: float,
    connection: http.client.HTTPConnection,
    request: HttpsRequest,
    target: str,
    headers: Mapping[str, str],
) -> HttpsResponse:
    """Send a request in a thread of its own, because a name server or single bytes can hang it."""
    results: queue.Queue[HttpsResponse | Exception] = queue.Queue(1)
    opened = contextlib.ExitStack()

    def respond(*args: Any, **options: Any) -> http.client.HTTPResponse:
        return opened.enter_context(http.client.HTTPResponse(*args, **options))

    # Early releases of Python 3.11 leave a proxy's answer open, and so its socket.
    setattr(connection, "response_class", respond)  # noqa: B010 - mypy takes no other way

    def run() -> None:
        try:
            results.put(_exchange(connection, request, target, headers))
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits
            results.put(error)
        finally:
            opened.close()
            connection.close()

    threading.Thread(target=run, daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        # Before it is connected it has no socket.
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)
        result = TimeoutError()
    if isinstance(result, Exception):
        raise result
    return result


def _exchange(
    connection: http.client.HTTPConnection,
    request: HttpsRequest,
    target: str,
    headers: Mapping[str, str],
) -> HttpsResponse:
    headers = {**_HEADERS, **headers}
    if request.form is None:
        connection.request("GET", target, headers=headers)
    else:
        body = urlencode(request.form).encode("ascii")
        connection.request("POST", target, body, {**headers, "Content-Type": _FORM})
    # A response without a length takes the socket away from the connection.
    certificate = _validity(connection.sock)
    with connection.getresponse() as response:
        if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
            raise LoginFailed(
                f"{urlsplit(request.url).netloc} redirects to another address, which a login does "
                "not follow; check the issuer's address"
            )
        date, age = (response.getheader(name, "") for name in ("Date", "Age"))
        return HttpsResponse(response.status, _read_body(response), date, age, certificate)


def _validity(connected: Any) -> tuple[float, float] | None:
    if not isinstance(connected, ssl.SSLSocket):
        return None
    certificate: Any = connected.getpeercert()
    first, last = (certificate[name] for name in ("notBefore", "notAfter"))
    return float(ssl.cert_time_to_seconds(first)), float(ssl.cert_time_to_seconds(last))


def _read_body(response: http.client.HTTPResponse) -> Sensitive:
    body = b""
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > MAX_BODY:
            raise LoginFailed("the authorization server's answer is larger than 1 MiB")
    if response.length:
        raise http.client.IncompleteRead(b"")
    return Sensitive(body.decode("utf-8-sig", "replace"))


def _tls_context(ca_file: str) -> ssl.SSLContext:
    # The context that `ssl` makes by default would write TLS secrets to the file SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not ca_file:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError:  # ssl.SSLError is one
        raise LoginFailed(f"--ca-file {ca_file} cannot be read, or has no certificate") from None
    # The user trusts what the file has, be it an intermediate CA: the default of Python 3.13.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _proxy(parts: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for a URL; none for this machine."""
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass_environment(host):
        return None
    found = getproxies_environment()
    url = found.get(parts.scheme) or found.get("all")
    if not url:
        return None
    with contextlib.suppress(ValueError):
        proxy = urlsplit(url if "://" in url else f"http://{url}")
        # Reading a port that is not a number raises ValueError.
        if proxy.scheme == "http" and proxy.hostname and proxy.port != 0:
            return proxy
    raise LoginFailed("the proxy in the environment is not an http:// address")


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
