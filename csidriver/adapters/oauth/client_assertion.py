"""Assertions that authenticate a client: read from a file, or signed with its private key.

PyJWT is imported when an issuer needs it: others, and the demo, work without. No log line quotes a
file, and no error of a library leaves this module, because its text may.
"""

import logging
import re
import secrets
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from csidriver.adapters.oauth.http_client import RequestFailed
from csidriver.core.oauth.client_auth import ClientAuthentication, present_assertion
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import (
    ENDPOINT_AUDIENCE,
    ISSUER_AUDIENCE,
    JWT_BEARER,
    PrivateKeySettings,
)
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive

log = logging.getLogger(__name__)

# More than any token or key in PEM has.
MAX_FILE = 16 * 1024
_MOST_KEYS = 64
# Seconds. Servers accept 5 minutes at most, and their clocks may be ahead of ours.
LIFETIME = 120
# Shorter keys can be broken (NIST SP 800-131A).
_MIN_RSA_BITS = 2048
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
# By the name of the curve.
_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def authenticate(issuer: Issuer, client: Client, endpoint: str) -> ClientAuthentication:
    """Return what to add to a request to an endpoint; raises RequestFailed, nothing is sent.

    Files are read each time, because kubelet replaces them.
    """
    if issuer.assertion.file:
        text = _from_file(issuer, issuer.assertion.file)
        if not _JWT.fullmatch(text.reveal()):
            raise _failure(issuer, issuer.assertion.file, "has no JWT")
        return present_assertion(client.client_id, issuer.assertion.type, text)
    settings, file = issuer.private_key, issuer.private_key.file
    pem = _from_file(issuer, file) if file else client.private_key
    audiences = {ISSUER_AUDIENCE: issuer.issuer, ENDPOINT_AUDIENCE: endpoint}
    audience = audiences.get(issuer.assertion_audience, issuer.assertion_audience)
    try:
        signed = _sign(_load_key(pem), settings, client.client_id, audience)
    except (ValueError, TypeError, NotImplementedError):
        if not file:
            raise RequestFailed(FailureReason.CLIENT_KEY) from None
        raise _failure(issuer, file, "has no private key in PEM that fits alg") from None
    return present_assertion(client.client_id, JWT_BEARER, signed)


def _from_file(issuer: Issuer, file: str) -> Sensitive:
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_FILE)
    except OSError as error:
        raise _failure(issuer, file, f"cannot be read: {error.strerror}") from None
    return Sensitive(content.decode("utf-8", "replace").strip())


def _failure(issuer: Issuer, file: str, fault: str) -> RequestFailed:
    log.error("issuer %s: file %s %s; nothing is sent", issuer.name, file, fault)
    return RequestFailed(FailureReason.NO_ASSERTION)


# Checking a key of RSA takes tens of milliseconds.
@lru_cache(_MOST_KEYS)
def _load_key(pem: Sensitive) -> tuple[Any, str]:
    """Return a key and the algorithm that goes with it; raises ValueError or TypeError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.reveal().encode(), None)
    except UnsupportedAlgorithm as error:
        raise ValueError from error
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _MIN_RSA_BITS:
            raise ValueError
        return key, "RS256"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key, _ALGORITHMS.get(key.curve.name, "")
    return key, "EdDSA"


def _sign(
    key: tuple[Any, str], settings: PrivateKeySettings, client_id: str, audience: str
) -> Sensitive:
    """Return a JWT of a client about itself (RFC 7523 section 3)."""
    import jwt

    now = int(time.time())
    # One audience: a server that may choose among several could use the JWT at another one.
    claims: dict[str, str | int] = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": secrets.token_hex(16),
        "iat": now,
        "exp": now + LIFETIME,
    }
    headers = {"kid": settings.kid} if settings.kid else None
    try:
        return Sensitive(jwt.encode(claims, key[0], settings.alg or key[1], headers))
    except jwt.PyJWTError as error:
        raise ValueError from error
