"""Requests to authorization servers: refresh a token, introspect it, probe whether one responds.

Every response and every failure becomes a value; nothing here raises.
"""

import logging
import threading
import time
from dataclasses import dataclass, replace
from http import HTTPStatus

from csidriver.adapters.oauth import client_assertion
from csidriver.adapters.oauth.http_client import (
    Deadlines,
    HttpRequest,
    HttpResponse,
    RequestFailed,
    send_request,
)
from csidriver.adapters.oauth.kept_connections import KeptConnections
from csidriver.adapters.oauth.tls_contexts import TlsContexts
from csidriver.core.oauth.client_auth import ASSERTION_METHODS, authenticate
from csidriver.core.oauth.discovery import (
    Endpoints,
    MetadataError,
    answers_probe,
    configured_endpoints,
    metadata_urls,
    parse_metadata,
)
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.introspection import Introspection, parse_introspection
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.json_object import json_object
from csidriver.core.oauth.token_form import Form, token_form
from csidriver.core.oauth.token_response import (
    Failure,
    Success,
    TokenResponse,
    parse_token_response,
)
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive

log = logging.getLogger(__name__)

PROBE_TIMEOUT = 5.0  # seconds
# After these the metadata is read again: the endpoint may have moved.
_REDISCOVER_AFTER = frozenset(
    {
        FailureReason.UNREACHABLE,
        FailureReason.TLS,
        FailureReason.REDIRECT,
        FailureReason.NO_ENDPOINT,
    }
)


@dataclass(frozen=True, slots=True)
class _Task:
    """The client for which a request is sent, its deadlines, and if it may be sent again."""

    issuer: Issuer
    client: Client
    deadlines: Deadlines
    is_repeatable: bool = False


class TokenEndpoints:
    """The endpoints of all issuers. Metadata is kept until an endpoint fails or is reconfigured."""

    def __init__(self) -> None:
        self._tls_contexts = TlsContexts()
        self._kept_connections = KeptConnections(self._tls_contexts)
        self._endpoints: dict[str, tuple[Issuer, Endpoints]] = {}
        self._discovering: dict[str, threading.Lock] = {}

    def refresh(
        self,
        issuer: Issuer,
        client: Client,
        refresh_token: Sensitive,
        timeout: float,
        late_timeout: float,
        sent: threading.Event,
    ) -> TokenResponse:
        """Send a refresh token once, within `timeout` seconds; wait for `late_timeout`.

        Sets `sent` before its first byte. The connection is a new one, unless the server never
        rotates: a request over a kept one may have to be sent twice.
        """
        now = time.monotonic()
        deadlines = Deadlines(now + timeout, now + late_timeout, sent)
        task = _Task(issuer, client, deadlines, is_repeatable=issuer.reuse == UNLIMITED)
        return self._request_token(task, token_form(issuer, GrantType.REFRESH_TOKEN, refresh_token))

    def request(self, issuer: Issuer, client: Client, form: Form, timeout: float) -> TokenResponse:
        """Send a token request that may be repeated, and wait for the response."""
        deadline = time.monotonic() + timeout
        task = _Task(issuer, client, Deadlines(deadline, deadline), is_repeatable=True)
        return self._request_token(task, form)

    def _request_token(self, task: _Task, form: Form) -> TokenResponse:
        result: TokenResponse
        try:
            endpoints = self._endpoints_of(task.issuer, task.deadlines.send)
            result = _to_response(self._post(task, endpoints, endpoints.token, form))
        except RequestFailed as error:
            result = Failure(error.reason)
        if isinstance(result, Failure) and result.reason in _REDISCOVER_AFTER:
            self._endpoints.pop(task.issuer.name, None)
        return result

    def introspect(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> Introspection:
        """Ask whether a refresh token is active (RFC 7662).

        Nothing is sent for a public client: the response to a client that is not authorized to
        introspect is "inactive", too (section 2.2).
        """
        if not client.client_secret and issuer.client_auth not in ASSERTION_METHODS:
            return Introspection.REFUSED
        deadline = time.monotonic() + timeout
        task = _Task(issuer, client, Deadlines(deadline, deadline))
        form = (("token", refresh_token), ("token_type_hint", Sensitive("refresh_token")))
        try:
            endpoints = self._endpoints_of(issuer, deadline)
            if not endpoints.introspection:
                return Introspection.REFUSED
            response = self._post(task, endpoints, endpoints.introspection, form)
        except RequestFailed:
            return Introspection.SILENT
        if not response.is_complete:
            return Introspection.SILENT
        return parse_introspection(response.status, response.body)

    def probe(self, issuer: Issuer) -> bool:
        """Return True if the issuer responds to a request that contains no credentials."""
        deadline = time.monotonic() + PROBE_TIMEOUT
        endpoints = configured_endpoints(issuer)
        if endpoints is None:
            endpoints = self._cached(issuer)
            try:
                body = self._read_metadata(issuer, deadline)
            except RequestFailed as error:
                if error.reason is not FailureReason.UNREACHABLE:
                    return True  # it responds; the next refresh reports its fault
            else:
                return json_object(body) is not None
        return endpoints is not None and self._responds(issuer, endpoints.token, deadline)

    def _responds(self, issuer: Issuer, url: str, deadline: float) -> bool:
        try:
            response = self._get(issuer, url, deadline)
        except RequestFailed as error:
            return error.reason is FailureReason.TLS
        return answers_probe(response.status, response.body)

    def _get(self, issuer: Issuer, url: str, deadline: float) -> HttpResponse:
        deadlines = Deadlines(deadline, deadline)
        return send_request(issuer, self._tls_contexts, HttpRequest("GET", url), deadlines)

    def _post(self, task: _Task, endpoints: Endpoints, url: str, form: Form) -> HttpResponse:
        issuer, client, method = task.issuer, task.client, endpoints.client_auth

        def make() -> HttpRequest:
            if method in ASSERTION_METHODS:
                auth = client_assertion.authenticate(issuer, client, endpoints.token)
            else:
                auth = authenticate(method, client.client_id, client.client_secret)
            pairs = [*((name, value.reveal()) for name, value in form), *auth.form.items()]
            return HttpRequest("POST", url, pairs, auth.headers)

        if task.is_repeatable:
            return self._kept_connections.send(issuer, url, make, task.deadlines)
        return send_request(issuer, self._tls_contexts, make(), task.deadlines)

    def _endpoints_of(self, issuer: Issuer, deadline: float) -> Endpoints:
        known = configured_endpoints(issuer) or self._cached(issuer)
        if known is not None:
            return known
        # After a start many tokens are due, which need the same metadata.
        lock = self._discovering.setdefault(issuer.name, threading.Lock())
        if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise RequestFailed(FailureReason.UNREACHABLE)
        try:
            return self._cached(issuer) or self._discover(issuer, deadline)
        finally:
            lock.release()

    def _cached(self, issuer: Issuer) -> Endpoints | None:
        cached_for, endpoints = self._endpoints.get(issuer.name, (None, None))
        # Requests for the same metadata may differ in their scope.
        same = cached_for is not None and replace(cached_for, scope="") == replace(issuer, scope="")
        return endpoints if same else None

    def _discover(self, issuer: Issuer, deadline: float) -> Endpoints:
        """Read the metadata; raises RequestFailed with UNREACHABLE, TLS or METADATA.

        None of these can have consumed a refresh token, because none was sent.
        """
        body = self._read_metadata(issuer, deadline)
        try:
            endpoints = parse_metadata(issuer, body)
        except MetadataError as error:
            log.error("metadata of issuer %s: %s", issuer.name, error)  # noqa: TRY400
            raise RequestFailed(FailureReason.METADATA) from None
        if endpoints.introspection_fault:
            fault = endpoints.introspection_fault
            log.warning("metadata of issuer %s: its introspection_endpoint %s", issuer.name, fault)
        self._endpoints[issuer.name] = issuer, endpoints
        return endpoints

    def _read_metadata(self, issuer: Issuer, deadline: float) -> Sensitive:
        for url in metadata_urls(issuer):
            try:
                response = self._get(issuer, url, deadline)
            except RequestFailed as error:
                is_tls = error.reason is FailureReason.TLS
                reason = FailureReason.TLS if is_tls else FailureReason.UNREACHABLE
                raise RequestFailed(reason) from None
            failed = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            throttled = response.status == HTTPStatus.TOO_MANY_REQUESTS
            if failed or throttled or not response.is_complete:
                raise RequestFailed(FailureReason.UNREACHABLE)
            if response.status == HTTPStatus.OK:
                return response.body
        log.error("issuer %s has no metadata", issuer.name)
        raise RequestFailed(FailureReason.METADATA)


def _to_response(response: HttpResponse) -> TokenResponse:
    parsed = parse_token_response(response.status, response.body, response.retry_after, time.time())
    # An incomplete response proves nothing, unless it contains the tokens.
    if response.is_complete or isinstance(parsed, Success):
        return parsed
    return Failure(FailureReason.NO_ANSWER)
