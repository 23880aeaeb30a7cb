"""Names as Kubernetes defines them (RFC 1123, as its API conventions use it)."""

import re
from typing import TypeGuard

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LONGEST_NAME = 253


def is_dns1123_label(value: object) -> TypeGuard[str]:
    """Return whether this is a valid name of a namespace."""
    return isinstance(value, str) and _LABEL.fullmatch(value) is not None


def is_dns1123_subdomain(value: object) -> TypeGuard[str]:
    """Return whether this is a valid name of a Secret or ConfigMap."""
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        return False
    return _SUBDOMAIN.fullmatch(value) is not None
