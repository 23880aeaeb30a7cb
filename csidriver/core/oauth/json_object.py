"""The JSON object of a response, or none: a gateway may answer with anything."""

import json
from collections.abc import Mapping
from typing import Any

from csidriver.core.sensitive import Sensitive


def json_object(body: Sensitive) -> Mapping[str, Any] | None:
    """Return the object that the body is; None if it is something else."""
    try:
        document = json.loads(body.reveal())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
