import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from csidriver.adapters.oauth.client_assertion import authenticate
from csidriver.adapters.oauth.http_client import RequestFailed
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import (
    JWT_BEARER,
    AssertionSettings,
    PrivateKeySettings,
)
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive

ISSUER_URL, ENDPOINT = "https://as.example", "https://as.example/token"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.c2ln"
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii"))


def asserting(file: Path, kind: str = JWT_BEARER) -> Issuer:
    return Issuer(
        "as", ISSUER_URL, client_auth="assertion", assertion=AssertionSettings(str(file), kind)
    )


def signing(**options: Any) -> Issuer:
    return Issuer("as", ISSUER_URL, client_auth="private_key_jwt", **options)


def keyed(key: str) -> Client:
    return Client("app", Sensitive(""), Sensitive(key))


def form(issuer: Issuer, client: Client) -> dict[str, str]:
    return dict(authenticate(issuer, client, ENDPOINT).form)


def claims_of(issuer: Issuer, key: Any = EC_KEY, alg: str = "ES256") -> dict[str, Any]:
    fields = form(issuer, keyed(pem(key)))
    assert fields["client_id"] == "app"
    assert fields["client_assertion_type"] == JWT_BEARER
    decoded = jwt.decode(
        fields["client_assertion"], key.public_key(), [alg], options={"verify_aud": False}
    )
    return dict(decoded)


def reason(issuer: Issuer, client: Client) -> FailureReason:
    with pytest.raises(RequestFailed) as caught:
        form(issuer, client)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error.reason


def test_a_file_is_read_again_at_each_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    issuer, client = asserting(file), Client("app", Sensitive(""))
    for text in (TOKEN, TOKEN.replace("c2ln", "bmV3")):
        file.write_text(text + "\n")
        found = authenticate(issuer, client, ENDPOINT)
        assert found.form == {
            "client_id": "app",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": text,
        }
        assert found.headers == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        ("planted" * 4000, "has no JWT"),
        ("planted.a.b\nc", "has no JWT"),
        ("planted..c", "has no JWT"),
    ],
    ids=["missing", "large", "two lines", "no claims"],
)
def test_a_file_without_an_assertion_is_named_and_nothing_is_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None, says: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    assert reason(asserting(file), Client("app", Sensitive(""))) is FailureReason.NO_ASSERTION
    assert f"issuer as: file {file} {says}" in caplog.text
    assert "planted" not in caplog.text


def test_a_signed_assertion_says_what_the_specification_asks_for() -> None:
    before = int(time.time())
    claims = claims_of(signing())
    assert {claims["iss"], claims["sub"]} == {"app"}
    assert claims["aud"] == ISSUER_URL
    for configured, audience in (("tokenEndpoint", ENDPOINT), ("https://other", "https://other")):
        assert claims_of(signing(assertion_audience=configured))["aud"] == audience
    assert before <= claims["iat"] <= int(time.time())
    assert 0 < claims["exp"] - claims["iat"] <= 300
    assert claims["jti"] != claims_of(signing())["jti"]
    assert claims.keys() == {"iss", "sub", "aud", "iat", "exp", "jti"}


@pytest.mark.parametrize(
    ("key", "configured", "alg"),
    [
        (rsa.generate_private_key(65537, 2048), "", "RS256"),
        (rsa.generate_private_key(65537, 2048), "PS256", "PS256"),
        (EC_KEY, "", "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "", "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "", "EdDSA"),
    ],
    ids=["RSA", "RSA-PSS", "P-256", "P-384", "Ed25519"],
)
def test_the_algorithm_fits_the_key(key: Any, configured: str, alg: str) -> None:
    settings = PrivateKeySettings(alg=configured, kid="the-kid")
    assert claims_of(signing(private_key=settings), key, alg)["iss"] == "app"
    signed = form(signing(private_key=settings), keyed(pem(key)))["client_assertion"]
    assert jwt.get_unverified_header(signed) == {"alg": alg, "kid": "the-kid", "typ": "JWT"}


UNFIT = {
    "a word": "planted",
    "another curve": pem(ec.generate_private_key(ec.SECP256K1())),
    "a short key": pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - it is refused
    "X25519": pem(x25519.X25519PrivateKey.generate()),
}


@pytest.mark.parametrize("key", UNFIT.values(), ids=UNFIT)
def test_a_key_that_cannot_sign_is_the_users_or_the_operators(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    assert reason(signing(), keyed(key)) is FailureReason.CLIENT_KEY
    assert caplog.text == ""
    file = tmp_path / "key.pem"
    file.write_text(key)
    issuer = signing(private_key=PrivateKeySettings(file=str(file)))
    assert reason(issuer, Client("app", Sensitive(""))) is FailureReason.NO_ASSERTION
    assert str(file) in caplog.text
    assert "planted" not in caplog.text
    file.write_text(pem(EC_KEY))
    signed = form(issuer, Client("app", Sensitive("")))["client_assertion"]
    options: Any = {"verify_aud": False}
    assert jwt.decode(signed, EC_KEY.public_key(), ["ES256"], options=options)["sub"] == "app"


def test_an_algorithm_for_other_keys_is_refused() -> None:
    for alg in ("RS256", "ES384", "EdDSA", "HS256", "none", "a word"):
        issuer = signing(private_key=PrivateKeySettings(alg=alg))
        assert reason(issuer, keyed(pem(EC_KEY))) is FailureReason.CLIENT_KEY
