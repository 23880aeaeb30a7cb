"""Token endpoints over HTTP (RFC 6749 section 6, RFC 8414), on `requests`.

Every answer and every failure becomes an Outcome; nothing here raises, and no text of a foreign
exception leaves, for it may quote a URL, a header or a body.
"""

import base64
import json
import logging
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from csidriver.core.issuers import Issuer, endpoint_fault
from csidriver.core.outcome import Failed, Outcome, classify
from csidriver.core.sensitive import Sensitive
from csidriver.core.source import Client
from csidriver.core.status import Signal

log = logging.getLogger(__name__)

# Real answers have 2-8 KiB; whoever sends more is not a token endpoint.
MAX_BODY = 1 << 20
CONNECT_TIMEOUT = 5.0
_CHUNK = 16384
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_OK = 200


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to authenticate at one issuer."""

    token_endpoint: str
    client_auth: str


class _Answerless(Exception):
    """The exchange ended without a complete answer."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        super().__init__(signal.value)


class _NoAuth(AuthBase):
    """Keeps requests from looking for credentials of its own."""

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        return r


class TokenEndpoints:
    """All issuers' token endpoints. Discovery is done once per issuer and kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._endpoints: dict[str, Endpoint] = {}

    def refresh(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> Outcome:
        """Present a refresh token once. `timeout` bounds the whole exchange, in seconds."""
        deadline = time.monotonic() + timeout
        try:
            endpoint = self._endpoint(issuer, deadline)
            form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
            if issuer.scope:
                form["scope"] = issuer.scope
            headers = _authenticate(endpoint.client_auth, client, form)
            status, body, retry_after = _exchange(
                issuer, "POST", endpoint.token_endpoint, deadline, form=form, headers=headers
            )
        except _Answerless as end:
            return Failed(end.signal)
        outcome = classify(status, body, retry_after, time.time())
        if isinstance(outcome, Failed) and outcome.signal is Signal.NO_ENDPOINT:
            with self._lock:
                self._endpoints.pop(issuer.name, None)
        return outcome

    def _endpoint(self, issuer: Issuer, deadline: float) -> Endpoint:
        if issuer.token_endpoint:
            return Endpoint(issuer.token_endpoint, issuer.client_auth or "basic")
        with self._lock:
            known = self._endpoints.get(issuer.name)
        if known is None:
            known = _discover(issuer, deadline)
            with self._lock:
                self._endpoints[issuer.name] = known
        return known


def _discover(issuer: Issuer, deadline: float) -> Endpoint:
    """Read the issuer's metadata. Nothing was sent of anybody's, so every failure is NOT_SENT."""
    for url in _metadata_urls(issuer.issuer):
        try:
            status, body, _ = _exchange(issuer, "GET", url, deadline)
        except _Answerless as end:
            certain = end.signal in (Signal.TLS, Signal.UNREACHABLE)
            raise _Answerless(end.signal if certain else Signal.UNREACHABLE) from None
        if status == _OK:
            return _endpoint_from(issuer, body)
        if status >= 500:  # noqa: PLR2004 - server errors (RFC 9110 section 15.6)
            raise _Answerless(Signal.UNREACHABLE)
    log.error("issuer %s serves no metadata", issuer.name)
    raise _Answerless(Signal.METADATA)


def _metadata_urls(issuer: str) -> list[str]:
    """RFC 8414 section 3.1 puts the well-known part before the path, OpenID Connect behind it."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    base = f"{parts.scheme}://{parts.netloc}"
    return [
        f"{base}{path}/.well-known/openid-configuration",
        f"{base}/.well-known/oauth-authorization-server{path}",
    ]


def _endpoint_from(issuer: Issuer, body: Sensitive) -> Endpoint:
    try:
        metadata = json.loads(body.reveal())
        fault = "" if isinstance(metadata, dict) else "is no JSON object"
    except (ValueError, RecursionError):
        metadata, fault = {}, "is not JSON"
    fault = fault or _metadata_fault(issuer, metadata)
    if fault:
        log.error("metadata of issuer %s: %s", issuer.name, fault)
        raise _Answerless(Signal.METADATA)
    offered = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    post_only = isinstance(offered, list) and "client_secret_basic" not in offered
    auth = "post" if post_only and "client_secret_post" in offered else "basic"
    return Endpoint(metadata["token_endpoint"], issuer.client_auth or auth)


def _metadata_fault(issuer: Issuer, metadata: Mapping[str, Any]) -> str:
    """What makes metadata unfit, "" if nothing does (RFC 8414 section 3.3)."""
    if metadata.get("issuer") != issuer.issuer:
        return "its issuer is not the configured one"
    endpoint = metadata.get("token_endpoint")
    if not isinstance(endpoint, str) or not endpoint:
        return "it has no token_endpoint"
    fault = endpoint_fault(endpoint, internal=issuer.internal)
    if fault:
        return f"its token_endpoint {fault}"
    host = urlsplit(endpoint).hostname
    if host not in (urlsplit(issuer.issuer).hostname, *issuer.endpoint_hosts):
        return "its token_endpoint is on another host; list it in endpointHosts if that is right"
    return ""


def _authenticate(method: str, client: Client, form: dict[str, str]) -> dict[str, str]:
    """Client authentication (RFC 6749 section 2.3.1); may add to the form."""
    secret = client.client_secret.reveal()
    if not secret or method == "none":
        form["client_id"] = client.client_id
        return {}
    if method == "post":
        form |= {"client_id": client.client_id, "client_secret": secret}
        return {}
    encode = str if method == "basic_raw" else quote_plus
    pair = f"{encode(client.client_id)}:{encode(secret)}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


def _exchange(
    issuer: Issuer,
    method: str,
    url: str,
    deadline: float,
    *,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Sensitive, str]:
    """One HTTP exchange over a fresh connection: status, body, Retry-After. Raises _Answerless."""
    proxies = {"http": issuer.proxy, "https": issuer.proxy} if issuer.proxy else {}
    with requests.Session() as session:
        session.trust_env = False  # no netrc, no proxy from the environment
        try:
            with session.request(
                method,
                url,
                data=form,
                headers={**_HEADERS, **(headers or {})},
                auth=_NoAuth(),
                timeout=(min(CONNECT_TIMEOUT, _left(deadline)), _left(deadline)),
                allow_redirects=False,
                verify=issuer.ca_file or True,
                proxies=proxies,
                stream=True,
            ) as response:
                body = _read(response, deadline)
                return response.status_code, body, response.headers.get("Retry-After", "")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _Answerless(_signal(error)) from None


def _read(response: requests.Response, deadline: float) -> Sensitive:
    body = b""
    # read1() returns what has come: a server that drips must not keep us past the deadline.
    while chunk := response.raw.read1(_CHUNK):
        body += chunk
        if len(body) > MAX_BODY:
            raise _Answerless(Signal.BAD_REPLY)
        if time.monotonic() > deadline:
            raise _Answerless(Signal.NO_ANSWER)
    return Sensitive(body.decode("utf-8", "replace"))


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _Answerless(Signal.UNREACHABLE)
    return left


def _signal(error: Exception) -> Signal:
    """Whether anything was sent decides; only these failures surely come before the first byte."""
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(error)):
        return Signal.TLS
    never_connected = (
        requests.exceptions.ConnectTimeout,
        requests.exceptions.ProxyError,
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
    )
    if isinstance(error, never_connected):
        return Signal.UNREACHABLE
    refused = any(isinstance(e, urllib3.exceptions.NewConnectionError) for e in _chain(error))
    return Signal.UNREACHABLE if refused else Signal.NO_ANSWER


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, however the libraries have linked it."""
    link: object = error
    while isinstance(link, BaseException):
        yield link
        inner = link.args[0] if link.args else None
        link = getattr(link, "reason", None) or link.__cause__ or link.__context__ or inner
