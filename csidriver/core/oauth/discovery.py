"""Endpoints of an issuer, from its configuration or its metadata (RFC 8414, OpenID Connect).

Metadata may only name endpoints that the operator trusts: on the issuer's host, or on a host of
`endpointHosts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from csidriver.core.oauth.endpoint_url import validate_endpoint
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.json_object import json_object
from csidriver.core.sensitive import Sensitive


class MetadataError(ValueError):
    """The metadata cannot be used; the text tells why and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """URLs of one issuer and the method of client authentication.

    `introspection` is "" without RFC 7662, or if the metadata names an endpoint that is not to be
    trusted; `introspection_fault` tells why.
    """

    token: str
    client_auth: str
    introspection: str = ""
    introspection_fault: str = ""


def configured_endpoints(issuer: Issuer) -> Endpoints | None:
    """Return the endpoints that the operator has configured, None if metadata is needed."""
    if not issuer.token_endpoint:
        return None
    auth = issuer.client_auth or "basic"
    return Endpoints(issuer.token_endpoint, auth, issuer.introspection_endpoint)


def metadata_urls(issuer: Issuer) -> list[str]:
    """Return where the metadata may be, in the order in which to try."""
    # RFC 8414 section 3.1 puts the well-known part before the path, OpenID Connect behind it.
    parts = urlsplit(issuer.issuer)
    path = parts.path.rstrip("/")
    base = f"{parts.scheme}://{parts.netloc}"
    return [
        f"{base}{path}/.well-known/openid-configuration",
        f"{base}/.well-known/oauth-authorization-server{path}",
    ]


def parse_metadata(issuer: Issuer, body: Sensitive) -> Endpoints:
    """Return the endpoints that the metadata names; raises MetadataError."""
    metadata = json_object(body)
    if metadata is None:
        raise MetadataError("it is not a JSON object")
    # RFC 8414 section 3.3.
    if metadata.get("issuer") != issuer.issuer:
        raise MetadataError("its issuer is not the configured one")
    token = metadata.get("token_endpoint")
    if fault := _endpoint_fault(issuer, token):
        raise MetadataError(f"its token_endpoint {fault}")
    introspection = metadata.get("introspection_endpoint")
    fault = "" if introspection is None else _endpoint_fault(issuer, introspection)
    return Endpoints(
        str(token),
        issuer.client_auth or _client_auth(metadata),
        "" if fault else introspection or "",
        fault,
    )


def answers_probe(status: int, body: Sensitive) -> bool:
    """Return True for a response of the server itself to a request without credentials.

    A gateway's 5xx and a maintenance page (200, but not JSON) are none.
    """
    if status == HTTPStatus.OK:
        return json_object(body) is not None
    return status < HTTPStatus.INTERNAL_SERVER_ERROR


def _client_auth(metadata: Mapping[str, Any]) -> str:
    methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not isinstance(methods, list) or "client_secret_basic" in methods:
        return "basic"
    return "post" if "client_secret_post" in methods else "basic"


def _endpoint_fault(issuer: Issuer, endpoint: object) -> str:
    if not isinstance(endpoint, str) or not endpoint:
        return "is missing or not a string"
    if fault := validate_endpoint(endpoint, internal=issuer.internal):
        return fault
    scheme = urlsplit(endpoint).scheme
    known = (issuer.issuer, *(f"{scheme}://{host}" for host in issuer.endpoint_hosts))
    if _address(endpoint) not in map(_address, known):
        return (
            "is on another host or port; if that is right, list the host, or host:port, in "
            "endpointHosts"
        )
    return ""


def _address(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
