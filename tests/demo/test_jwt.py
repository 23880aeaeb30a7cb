import base64
import hashlib
import hmac

import pytest

from csidriver.demo.jwt import sign_jwt, verify_jwt

KEY = b"k" * 32
HEAD, PAYLOAD, SIGNATURE = sign_jwt({"sub": "me"}, KEY).split(".")
OTHER_PAYLOAD = sign_jwt({"sub": "you"}, KEY).split(".")[1]


def signed(header: bytes, payload: bytes) -> str:
    """Rightly signed with KEY, whatever it holds."""
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload)]
    digest = hmac.new(KEY, b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(digest).rstrip(b"=")]).decode()


def test_a_signed_token_verifies_with_its_key_only() -> None:
    token = sign_jwt({"sub": "me"}, KEY)
    assert verify_jwt(token, KEY) == {"sub": "me"}
    assert verify_jwt(token, b"another key") is None
    assert verify_jwt(signed(b'{"alg":"HS256"}', b'{"sub":"me"}'), KEY) == {"sub": "me"}


@pytest.mark.parametrize(
    "forged",
    [
        f"{HEAD}.{OTHER_PAYLOAD}.{SIGNATURE}",
        "ü.ü.ü",
        signed(b'{"alg":"none"}', b'{"sub":"me"}'),
        signed(b'{"alg":"HS256"}', b"[]"),
    ],
    ids=str,
)
def test_all_else_does_not(forged: str) -> None:
    assert verify_jwt(forged, KEY) is None
