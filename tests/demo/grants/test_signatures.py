import jwt
import pytest

from csidriver.demo.families import RegisteredClient, Trust
from csidriver.demo.grants.signatures import is_signed
from tests.demo.grants.signing import signing_key

CLIENT = RegisteredClient("app", None, (signing_key().public_pem,))
TRUSTING = RegisteredClient("job", None, trust=Trust("i", "s", signing_key("ES256").jwks))


def test_only_keys_of_the_client_or_of_its_trust_count() -> None:
    own, foreign = signing_key().sign(iss="i"), signing_key("ES256").sign(iss="i")
    assert (is_signed(own, CLIENT), is_signed(foreign, CLIENT)) == (True, False)
    assert (is_signed(own, TRUSTING), is_signed(foreign, TRUSTING)) == (False, True)
    assert not is_signed(signing_key("ES256", "second").sign(iss="i"), TRUSTING)


@pytest.mark.parametrize(("algorithm", "key"), [("none", ""), ("HS256", "k" * 32)])
def test_the_verifier_chooses_the_algorithm(algorithm: str, key: str) -> None:
    assert not is_signed(jwt.encode({"iss": "i"}, key, algorithm), CLIENT)
