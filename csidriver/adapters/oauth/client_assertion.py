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

# Tokens of service accounts have 1 to 2 KiB, keys in PEM up to 4 KiB.
MAX_FILE = 16 * 1024
_MOST_KEYS = 64
# Seconds. Servers accept 5 minutes at most, and their clocks may be ahead of ours.
LIFETIME = 120
# Shorter keys can be broken (NIST SP 800-131A).
_MIN_RSA_BITS = 2048
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
# By the name of the curve.
_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class ClientAssertions:
    """Makes assertions. Keeps the last keys: checking one of RSA takes tens of milliseconds."""

    def __init__(self) -> None:
        self._load_key = lru_cache(_MOST_KEYS)(_load_key)

    def authenticate(self, issuer: Issuer, client: Client, endpoint: str) -> ClientAuthentication:
        """Return what to add to a request to an endpoint; raises RequestFailed, nothing is sent.

        Files are read each time, because kubelet replaces them.
        """
        if issuer.assertion.file:
            text = _from_file(issuer, "assertion", issuer.assertion.file)
            if not _JWT.fullmatch(text.reveal()):
                raise _failure(issuer, f"assertion file {issuer.assertion.file} has no JWT")
            return present_assertion(client.client_id, issuer.assertion.type, text)
        settings, file = issuer.private_key, issuer.private_key.file
        pem = _from_file(issuer, "privateKey", file) if file else client.private_key
        audiences = {ISSUER_AUDIENCE: issuer.issuer, ENDPOINT_AUDIENCE: endpoint}
        audience = audiences.get(issuer.assertion_audience, issuer.assertion_audience)
        try:
            key = self._load_key(pem)
            signed = _sign(key, settings, client.client_id, audience)
        except (ValueError, TypeError, NotImplementedError):
            if not file:
                raise RequestFailed(FailureReason.CLIENT_KEY) from None
            fault = f"privateKey file {file} has no private key in PEM that fits alg"
            raise _failure(issuer, fault) from None
        return present_assertion(client.client_id, JWT_BEARER, signed)


def _from_file(issuer: Issuer, key: str, file: str) -> Sensitive:
    content, fault = b"", "is missing, or not a file"
    try:
        if Path(file).is_file():  # a pipe would block
            with Path(file).open("rb") as opened:
                content = opened.read(MAX_FILE + 1)
            fault = "" if content.strip() else "is empty"
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    if len(content) > MAX_FILE:
        fault = f"is larger than {MAX_FILE // 1024} KiB"
    if fault:
        raise _failure(issuer, f"{key} file {file} {fault}")
    return Sensitive(content.decode("utf-8", "replace").strip())


def _failure(issuer: Issuer, fault: str) -> RequestFailed:
    log.error("issuer %s: %s; nothing is sent", issuer.name, fault)
    return RequestFailed(FailureReason.NO_ASSERTION)


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
