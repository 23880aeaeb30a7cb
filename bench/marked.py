"""Tokens that tell by themselves whether they are whole."""

import base64
import hashlib
import random

# Bytes of an access token: what Keycloak signs with RS256 for a user with a few roles, and for one
# with many; the larger one fills more than a page.
SIZE, LARGE_SIZE = 1200, 6000
_DIGEST = 32


def token(size: int = SIZE) -> str:
    """Return a unique token of `size` bytes."""
    raw = base64.urlsafe_b64encode(random.randbytes(size))  # noqa: S311 - no secret
    body = raw[: size - _DIGEST]
    return _mark(body) + body.decode()


def is_whole(content: bytes) -> bool:
    """Return True if the content is exactly one complete token."""
    return len(content) > _DIGEST and content[:_DIGEST] == _mark(content[_DIGEST:]).encode()


def _mark(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:_DIGEST]
