"""Keys of clients and of issuers, and what they sign."""

import functools
import json
import secrets
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from csidriver.core.sensitive import Sensitive
from csidriver.demo.grants.assertions import JWT_BEARER


class SigningKey:
    """A key pair; `kid` is its name in a JWKS."""

    def __init__(self, algorithm: str, kid: str) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self._key: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if algorithm == "ES256"
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )

    @property
    def private_pem(self) -> Sensitive:
        form = PrivateFormat.PKCS8
        return Sensitive(self._key.private_bytes(Encoding.PEM, form, NoEncryption()).decode())

    @property
    def public_pem(self) -> str:
        key = self._key.public_key()
        return str(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())

    @property
    def jwks(self) -> dict[str, Any]:
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        key = json.loads(algorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**key, "kid": self.kid, "use": "sig", "alg": self.algorithm}]}

    def sign(self, **claims: Any) -> str:
        """Return a JWT of these claims, without those that are None."""
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(given, self._key, self.algorithm, {"kid": self.kid})

    def own_assertion(self, client_id: str, audience: Any, now: float, **claims: Any) -> str:
        """Return an assertion as a client signs it for itself."""
        made = {"iss": client_id, "sub": client_id, "aud": audience, "jti": secrets.token_hex(8)}
        return self.sign(**{**made, "iat": int(now), "exp": int(now) + 60, **claims})


@functools.cache
def signing_key(algorithm: str = "RS256", kid: str = "first") -> SigningKey:
    """Return the same key for the same arguments, since RSA keys take long to make."""
    return SigningKey(algorithm, kid)


def assertion_fields(assertion: str, **fields: str) -> dict[str, str]:
    """Return the fields of a form with an assertion."""
    return {"client_assertion_type": JWT_BEARER, "client_assertion": assertion, **fields}
