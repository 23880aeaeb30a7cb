"""The response of an introspection endpoint (RFC 7662 section 2.2)."""

import json
from enum import Enum
from http import HTTPStatus

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
    throttled = status == HTTPStatus.TOO_MANY_REQUESTS
    refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and not throttled
    try:
        document = json.loads(body.reveal())
    except (ValueError, RecursionError):
        document = None
    if refused:
        has_error = isinstance(document, dict) and "error" in document
        return Introspection.REFUSED if has_error else Introspection.UNCLEAR
    active = document.get("active") if isinstance(document, dict) else None
    if status != HTTPStatus.OK:
        return Introspection.SILENT
    if not isinstance(active, bool):
        return Introspection.SILENT
    return Introspection.ACTIVE if active else Introspection.INACTIVE
