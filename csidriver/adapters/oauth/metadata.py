"""What an issuer says of itself (RFC 8414, OpenID Connect Discovery) and what we believe of it."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from csidriver.adapters.oauth.http_client import HttpResponse, RequestFailed
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer, validate_endpoint
from csidriver.core.sensitive import Sensitive

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where to ask one issuer, and how to authenticate; `introspection` is "" without RFC 7662."""

    token: str
    client_auth: str
    introspection: str = ""


def configured(issuer: Issuer) -> Endpoints | None:
    """The places of an issuer that the operator has written down, None if it is to be asked."""
    if not issuer.token_endpoint:
        return None
    auth = issuer.client_auth or "basic"
    return Endpoints(issuer.token_endpoint, auth, issuer.introspection_endpoint)


def discover(issuer: Issuer, get: Callable[[str], HttpResponse]) -> Endpoints:
    """Read the issuer's metadata. Nothing of anybody's was sent, so every failure is NOT_SENT.

    Raises Answerless: METADATA if it answers but not as configured, else UNREACHABLE or TLS.
    """
    for url in _urls(issuer.issuer):
        try:
            answer = get(url)
        except RequestFailed as end:
            signal = (
                FailureReason.TLS if end.reason is FailureReason.TLS else FailureReason.UNREACHABLE
            )
            raise RequestFailed(signal) from None
        in_trouble = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if in_trouble or answer.status == HTTPStatus.TOO_MANY_REQUESTS or not answer.is_complete:
            raise RequestFailed(FailureReason.UNREACHABLE)
        if answer.status == HTTPStatus.OK:
            return _places(issuer, answer.body)
    log.error("issuer %s serves no metadata", issuer.name)
    raise RequestFailed(FailureReason.METADATA)


def _urls(issuer: str) -> list[str]:
    """RFC 8414 section 3.1 puts the well-known part before the path, OpenID Connect behind it."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    base = f"{parts.scheme}://{parts.netloc}"
    return [
        f"{base}{path}/.well-known/openid-configuration",
        f"{base}/.well-known/oauth-authorization-server{path}",
    ]


def _places(issuer: Issuer, body: Sensitive) -> Endpoints:
    try:
        metadata = json.loads(body.reveal())
        fault = "" if isinstance(metadata, dict) else "is no JSON object"
    except (ValueError, RecursionError):
        metadata, fault = {}, "is not JSON"
    fault = fault or _fault(issuer, metadata)
    if fault:
        log.error("metadata of issuer %s: %s", issuer.name, fault)
        raise RequestFailed(FailureReason.METADATA)
    offered = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    post_only = isinstance(offered, list) and "client_secret_basic" not in offered
    auth = "post" if post_only and "client_secret_post" in offered else "basic"
    return Endpoints(
        metadata["token_endpoint"], issuer.client_auth or auth, _introspection(issuer, metadata)
    )


def _fault(issuer: Issuer, metadata: Mapping[str, Any]) -> str:
    """What makes metadata unfit, "" if nothing does (RFC 8414 section 3.3)."""
    if metadata.get("issuer") != issuer.issuer:
        return "its issuer is not the configured one"
    fault = _endpoint_fault(issuer, metadata.get("token_endpoint"))
    return f"its token_endpoint {fault}" if fault else ""


def _introspection(issuer: Issuer, metadata: Mapping[str, Any]) -> str:
    """The introspection endpoint (RFC 7662), "" if there is none that a token may be sent to."""
    endpoint = metadata.get("introspection_endpoint")
    if endpoint is None:
        return ""
    fault = _endpoint_fault(issuer, endpoint)
    if fault:
        log.warning("metadata of issuer %s: its introspection_endpoint %s", issuer.name, fault)
        return ""
    return str(endpoint)


def _endpoint_fault(issuer: Issuer, endpoint: object) -> str:
    if not isinstance(endpoint, str) or not endpoint:
        return "is missing or no text"
    fault = validate_endpoint(endpoint, internal=issuer.internal)
    if fault:
        return fault
    if urlsplit(endpoint).hostname not in (
        urlsplit(issuer.issuer).hostname,
        *issuer.endpoint_hosts,
    ):
        return "is on another host; list it in endpointHosts if that is right"
    return ""
