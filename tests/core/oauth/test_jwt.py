import base64
import json
from typing import Any

import pytest

from csidriver.core.oauth.jwt import JwtClaims, unverified_claims
from csidriver.core.sensitive import Sensitive

BOUND = JwtClaims(is_bound=True)


def jwt(payload: Any) -> Sensitive:
    part = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return Sensitive(f"eyJhbGciOiJub25lIn0.{part}.c2ln")


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        ({"iss": "https://a", "iat": 100, "exp": 400.5}, JwtClaims("https://a", 100.0, 400.5)),
        ({"iss": 5, "iat": "100", "exp": None}, JwtClaims()),
        ({"iat": 10**400, "exp": float("nan")}, JwtClaims()),
        ({"iat": 1e11, "exp": float("inf")}, JwtClaims()),
        ({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}, BOUND),
        ({"cnf": None}, JwtClaims()),
        ([], JwtClaims()),
    ],
)
def test_claims_of_a_jwt(payload: Any, wanted: JwtClaims) -> None:
    assert unverified_claims(jwt(payload)) == wanted


@pytest.mark.parametrize(
    "token",
    [
        "opaque",
        *("a.b", "a.b.c.d", "..", "a.é.c", "a.e30x.c"),
        "a." + base64.urlsafe_b64encode(b"\xff\xfe{").decode() + ".c",
        "a." + base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".c",
        "a." + base64.urlsafe_b64encode(b'{"exp": ' + b"9" * 5000 + b"}").decode() + ".c",
    ],
    ids=lambda token: token[:20],
)
def test_garbage_has_no_claims(token: str) -> None:
    assert unverified_claims(Sensitive(token)) == JwtClaims()
