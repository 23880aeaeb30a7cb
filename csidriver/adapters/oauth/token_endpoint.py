"""Authorization servers: presenting a refresh token, asking about one, asking for a sign of life.

Every answer and every failure becomes a value; nothing here raises.
"""

import base64
import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import quote_plus

from csidriver.adapters.oauth.http_client import (
    HttpRequest,
    HttpResponse,
    RequestFailed,
    send_request,
)
from csidriver.adapters.oauth.metadata import Endpoints, configured, discover
from csidriver.adapters.oauth.tls_contexts import TlsContexts
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import (
    Failure,
    Success,
    TokenResponse,
    parse_token_response,
)
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive

log = logging.getLogger(__name__)

# Seconds a sign of life may take.
PROBE_TIMEOUT = 5.0
# After these the metadata is read again: the endpoint may have moved.
_REDISCOVER_AFTER = frozenset(
    {
        FailureReason.UNREACHABLE,
        FailureReason.TLS,
        FailureReason.REDIRECT,
        FailureReason.NO_ENDPOINT,
    }
)
# What stands before a server says these while the server itself is away.
_GATEWAY_ERRORS = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


@dataclass(frozen=True, slots=True)
class _Task:
    """On whose behalf something is asked, and until when (an instant of `time.monotonic`)."""

    issuer: Issuer
    client: Client
    deadline: float


class TokenEndpoints:
    """All issuers' endpoints. Metadata is kept until an endpoint fails or is reconfigured."""

    def __init__(self) -> None:
        self._tls_contexts = TlsContexts()
        self._lock = threading.Lock()
        self._endpoints: dict[str, tuple[Issuer, Endpoints]] = {}

    def refresh(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> TokenResponse:
        """Present a refresh token once. `timeout` bounds the whole exchange, in seconds."""
        task = _Task(issuer, client, time.monotonic() + timeout)
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
        if issuer.scope:
            form["scope"] = issuer.scope
        try:
            places = self._endpoints_of(issuer, task.deadline)
            outcome = _to_response(self._post(task, places.token, places.client_auth, form))
        except RequestFailed as end:
            outcome = Failure(end.reason)
        if isinstance(outcome, Failure) and outcome.reason in _REDISCOVER_AFTER:
            with self._lock:
                self._endpoints.pop(issuer.name, None)
        return outcome

    def introspect(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> bool | None:
        """Whether a refresh token is active (RFC 7662), None if the server does not say.

        Not asked for a public client: whoever may not ask is told "inactive", too (section 2.2).
        """
        if not client.client_secret:
            return None
        task = _Task(issuer, client, time.monotonic() + timeout)
        form = {"token": refresh_token.reveal(), "token_type_hint": "refresh_token"}
        try:
            places = self._endpoints_of(issuer, task.deadline)
            if not places.introspection:
                return None
            answer = self._post(task, places.introspection, places.client_auth, form)
        except RequestFailed:
            return None
        return _active(answer)

    def probe(self, issuer: Issuer) -> bool:
        """Whether an issuer shows signs of life; asked with nothing of anybody's."""
        deadline = time.monotonic() + PROBE_TIMEOUT
        known = configured(issuer)
        if known is None:
            known = self._cached(issuer)
            try:
                self._discover(issuer, deadline)
            except RequestFailed as end:
                if end.reason is not FailureReason.UNREACHABLE:
                    return True  # it answers; what is wrong with it, an exchange will tell
            else:
                return True
        return known is not None and self._responds(issuer, known.token, deadline)

    def _responds(self, issuer: Issuer, url: str, deadline: float) -> bool:
        try:
            answer = send_request(issuer, self._tls_contexts, HttpRequest("GET", url), deadline)
        except RequestFailed as end:
            return end.reason is FailureReason.TLS
        return answer.status not in _GATEWAY_ERRORS

    def _post(self, task: _Task, url: str, auth: str, form: Mapping[str, str]) -> HttpResponse:
        body = dict(form)
        headers = _authenticate(auth, task.client, body)
        request = HttpRequest("POST", url, body, headers)
        return send_request(task.issuer, self._tls_contexts, request, task.deadline)

    def _endpoints_of(self, issuer: Issuer, deadline: float) -> Endpoints:
        return configured(issuer) or self._cached(issuer) or self._discover(issuer, deadline)

    def _cached(self, issuer: Issuer) -> Endpoints | None:
        """What was learnt about an issuer configured exactly like this one."""
        with self._lock:
            asked, places = self._endpoints.get(issuer.name, (None, None))
        return places if asked is not None and _have_same_metadata(asked, issuer) else None

    def _discover(self, issuer: Issuer, deadline: float) -> Endpoints:
        places = discover(
            issuer,
            lambda url: send_request(issuer, self._tls_contexts, HttpRequest("GET", url), deadline),
        )
        with self._lock:
            self._endpoints[issuer.name] = issuer, places
        return places


def _have_same_metadata(one: Issuer, other: Issuer) -> bool:
    """Whether two configurations lead to the same metadata; a request may leave its scope out."""
    return replace(one, scope="") == replace(other, scope="")


def _to_response(answer: HttpResponse) -> TokenResponse:
    outcome = parse_token_response(answer.status, answer.body, answer.retry_after, time.time())
    # Half an answer proves nothing, unless what it lacks was not needed.
    return (
        outcome
        if answer.is_complete or isinstance(outcome, Success)
        else Failure(FailureReason.NO_ANSWER)
    )


def _active(answer: HttpResponse) -> bool | None:
    if answer.status != HTTPStatus.OK or not answer.is_complete:
        return None
    try:
        said = json.loads(answer.body.reveal())
    except (ValueError, RecursionError):
        return None
    active = said.get("active") if isinstance(said, dict) else None
    return active if isinstance(active, bool) else None


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
