import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from csidriver.core.admission.certificates import Certificate
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings
from csidriver.webhook.x509 import CertificateFactory

NOW = float(int(time.time()))
PKI = CertificateFactory()
NAMES = ["hook.ns.svc", "127.0.0.1", "::1"]


@pytest.fixture(scope="module")
def authority() -> tuple[Certificate, Sensitive]:
    return PKI.new_authority(NOW, 1000.0)


def test_an_authority_signs_itself_and_lives_as_long_as_asked(
    authority: tuple[Certificate, Sensitive],
) -> None:
    made, key = authority
    assert (made.issuer, made.expires, made.names) == (made.id, NOW + 1000, frozenset())
    assert PKI.certificates(made.pem) == (made,)
    assert PKI.matches_key(key, made)


def test_a_certificate_names_its_servers_and_its_authority(
    authority: tuple[Certificate, Sensitive],
) -> None:
    served, key = PKI.issue_serving_certificate(*authority, NAMES, NOW, 100.0)
    assert (served.issuer, served.expires) == (authority[0].id, NOW + 100)
    assert served.names == set(NAMES)
    assert PKI.certificates(served.pem, [authority[0]]) == (served,)
    assert PKI.matches_key(key, served)
    assert not PKI.matches_key(authority[1], served)


def test_a_certificate_ends_with_its_authority(authority: tuple[Certificate, Sensitive]) -> None:
    served, _ = PKI.issue_serving_certificate(*authority, NAMES, NOW, 5000.0)
    assert served.expires == authority[0].expires


def test_certificates_begin_early_for_clocks_that_are_behind(
    authority: tuple[Certificate, Sensitive],
) -> None:
    served, _ = PKI.issue_serving_certificate(*authority, NAMES, NOW, 100.0)
    for one in (authority[0], served):
        found = x509.load_pem_x509_certificate(one.pem.encode())
        assert found.not_valid_before_utc.timestamp() == NOW - 3600


def test_of_two_authorities_the_one_that_signed_is_told(
    authority: tuple[Certificate, Sensitive],
) -> None:
    other, _ = PKI.new_authority(NOW, 1000.0)  # of the same name
    served, _ = PKI.issue_serving_certificate(*authority, NAMES, NOW, 100.0)
    for order in ([authority[0], other], [other, authority[0]]):
        (found,) = PKI.certificates(served.pem, order)
        assert found.issuer == authority[0].id
    (stranger,) = PKI.certificates(served.pem, [other])
    assert stranger.issuer == ""


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate_is_none(text: str) -> None:
    assert PKI.certificates(text) == ()


def test_what_is_no_key_belongs_to_nothing(authority: tuple[Certificate, Sensitive]) -> None:
    assert not PKI.matches_key(Sensitive("nonsense"), authority[0])
    key = serialization.load_pem_private_key(authority[1].reveal().encode(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    assert not PKI.matches_key(Sensitive(locked.decode()), authority[0])


def test_a_context_takes_a_pair_and_tells_nothing_of_one_that_does_not_fit(
    authority: tuple[Certificate, Sensitive],
) -> None:
    served, key = PKI.issue_serving_certificate(*authority, NAMES, NOW, 100.0)
    context = PKI.server_context(served.pem, key)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    with pytest.raises(InvalidSettings) as caught:
        PKI.server_context(served.pem, authority[1])
    assert caught.value.__context__ is None
    with pytest.raises(InvalidSettings):
        PKI.server_context("nonsense", key)


def test_only_keys_like_ours_sign(authority: tuple[Certificate, Sensitive]) -> None:
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = foreign.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(InvalidSettings):
        PKI.issue_serving_certificate(authority[0], Sensitive(text.decode()), NAMES, NOW, 100.0)
