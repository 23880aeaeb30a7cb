"""The response of an introspection endpoint (RFC 7662 section 2.2)."""

from enum import Enum
from http import HTTPStatus

from csidriver.core.oauth.json_object import json_object
from csidriver.core.sensitive import Sensitive


class Introspection(Enum):
    """The server's answer about a refresh token; the value is a label of the metrics."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    REFUSED = "refused"  # it says nothing to this client, or never
    UNCLEAR = "unclear"  # something in front of it refuses
    SILENT = "none"  # it does not answer now


def parse_introspection(status: int, body: Sensitive) -> Introspection:
    """Interpret a complete HTTP response."""
    document = json_object(body) or {}
    if status == HTTPStatus.OK and isinstance(document.get("active"), bool):
        return Introspection.ACTIVE if document["active"] else Introspection.INACTIVE
    throttled = status == HTTPStatus.TOO_MANY_REQUESTS
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and not throttled:
        return Introspection.REFUSED if "error" in document else Introspection.UNCLEAR
    return Introspection.SILENT
