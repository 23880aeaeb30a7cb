"""Token endpoints: where they are (RFC 8414), how a client shows who it is, what they answer.

Every answer and every failure becomes an Outcome; nothing here raises.
"""

import base64
import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlsplit

from csidriver.adapters.http.exchange import Answerless, exchange
from csidriver.core.issuers import Issuer, endpoint_fault
from csidriver.core.outcome import Failed, Ok, Outcome, classify
from csidriver.core.sensitive import Sensitive
from csidriver.core.source import Client
from csidriver.core.status import Signal

log = logging.getLogger(__name__)

# After these the metadata is read again: the endpoint may have moved, and a dead issuer is probed
# with a harmless request instead of somebody's refresh token.
_DOUBTS = frozenset({Signal.UNREACHABLE, Signal.TLS, Signal.REDIRECT, Signal.NO_ENDPOINT})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to authenticate at one issuer."""

    token_endpoint: str
    client_auth: str


class TokenEndpoints:
    """All issuers' token endpoints. Metadata is kept until an endpoint fails or is reconfigured."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._endpoints: dict[str, tuple[Issuer, Endpoint]] = {}

    def refresh(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> Outcome:
        """Present a refresh token once. `timeout` bounds the whole exchange, in seconds."""
        deadline = time.monotonic() + timeout
        try:
            outcome = self._present(issuer, client, refresh_token, deadline)
        except Answerless as end:
            outcome = Failed(end.signal)
        if isinstance(outcome, Failed) and outcome.signal in _DOUBTS:
            with self._lock:
                self._endpoints.pop(issuer.name, None)
        return outcome

    def _present(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, deadline: float
    ) -> Outcome:
        endpoint = self._endpoint(issuer, deadline)
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
        if issuer.scope:
            form["scope"] = issuer.scope
        headers = _authenticate(endpoint.client_auth, client, form)
        answer = exchange(
            issuer, "POST", endpoint.token_endpoint, deadline, form=form, headers=headers
        )
        outcome = classify(answer.status, answer.body, answer.retry_after, time.time())
        # Half an answer proves nothing, unless what it lacks was not needed.
        return outcome if answer.whole or isinstance(outcome, Ok) else Failed(Signal.NO_ANSWER)

    def _endpoint(self, issuer: Issuer, deadline: float) -> Endpoint:
        if issuer.token_endpoint:
            return Endpoint(issuer.token_endpoint, issuer.client_auth or "basic")
        with self._lock:
            configured, known = self._endpoints.get(issuer.name, (None, None))
        if known is None or configured != issuer:
            known = _discover(issuer, deadline)
            with self._lock:
                self._endpoints[issuer.name] = issuer, known
        return known


def _discover(issuer: Issuer, deadline: float) -> Endpoint:
    """Read the issuer's metadata. Nothing was sent of anybody's, so every failure is NOT_SENT."""
    for url in _metadata_urls(issuer.issuer):
        try:
            answer = exchange(issuer, "GET", url, deadline)
        except Answerless as end:
            signal = Signal.TLS if end.signal is Signal.TLS else Signal.UNREACHABLE
            raise Answerless(signal) from None
        in_trouble = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if in_trouble or answer.status == HTTPStatus.TOO_MANY_REQUESTS or not answer.whole:
            raise Answerless(Signal.UNREACHABLE)
        if answer.status == HTTPStatus.OK:
            return _endpoint_from(issuer, answer.body)
    log.error("issuer %s serves no metadata", issuer.name)
    raise Answerless(Signal.METADATA)


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
        raise Answerless(Signal.METADATA)
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
