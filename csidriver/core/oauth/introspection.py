"""The response of an introspection endpoint (RFC 7662 section 2.2)."""

import json
from http import HTTPStatus

from csidriver.core.sensitive import Sensitive


def parse_active(status: int, body: Sensitive) -> bool | None:
    """Return whether the token is active, None if the response does not say so clearly."""
    if status != HTTPStatus.OK:
        return None
    try:
        document = json.loads(body.reveal())
    except (ValueError, RecursionError):
        return None
    active = document.get("active") if isinstance(document, dict) else None
    return active if isinstance(active, bool) else None
