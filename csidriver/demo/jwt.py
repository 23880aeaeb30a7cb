"""JSON Web Tokens as the strict authorization server signs them: HS256 and nothing else."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

_ALGORITHM = "HS256"


def sign_jwt(claims: Mapping[str, object], key: bytes) -> str:
    """Return the compact serialisation of `claims`, signed with `key`."""
    header = {"alg": _ALGORITHM, "typ": "JWT"}
    signed = f"{encode_base64url(_dump(header))}.{encode_base64url(_dump(claims))}"
    return f"{signed}.{_signature(signed, key)}"


def verify_jwt(token: str, key: bytes) -> Mapping[str, object] | None:
    """Return the claims of a token signed with `key`, else None; ignores its expiry."""
    signed, _, signature = token.rpartition(".")
    head, _, payload = signed.partition(".")
    try:
        genuine = hmac.compare_digest(_signature(signed, key).encode(), signature.encode("ascii"))
        header, claims = json.loads(_decode(head)), json.loads(_decode(payload))
    except ValueError:
        return None
    if not (genuine and isinstance(header, dict) and isinstance(claims, dict)):
        return None
    # RFC 8725 section 3.1: the verifier, not the token, chooses the algorithm.
    return claims if header.get("alg") == _ALGORITHM else None


def _dump(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _signature(signed: str, key: bytes) -> str:
    return encode_base64url(hmac.new(key, signed.encode("ascii"), hashlib.sha256).digest())


def encode_base64url(raw: bytes) -> str:
    """Encode without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
