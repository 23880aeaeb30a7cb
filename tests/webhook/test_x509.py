import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings
from csidriver.webhook.x509 import CertificateFactory

NOW = float(int(time.time()))
PKI = CertificateFactory()
NAMES = ["hook.ns.svc", "127.0.0.1", "::1"]


CA, CA_KEY = PKI.new_authority(NOW, 1000.0)
SERVED, KEY = PKI.issue_serving_certificate(CA, CA_KEY, NAMES, NOW, 100.0)


def test_an_authority_signs_itself_and_lives_as_long_as_asked() -> None:
    assert (CA.issuer, CA.expires, CA.names) == (CA.id, NOW + 1000, frozenset())
    assert PKI.certificates(CA.pem) == (CA,)
    assert PKI.matches_key(CA_KEY, CA)


def test_a_certificate_names_its_servers_and_its_authority() -> None:
    assert (SERVED.issuer, SERVED.expires) == (CA.id, NOW + 100)
    assert SERVED.names == set(NAMES)
    assert PKI.certificates(SERVED.pem, [CA]) == (SERVED,)
    assert PKI.matches_key(KEY, SERVED)
    assert not PKI.matches_key(CA_KEY, SERVED)


def test_a_certificate_ends_with_its_authority_and_begins_early_for_slow_clocks() -> None:
    served, _ = PKI.issue_serving_certificate(CA, CA_KEY, NAMES, NOW, 5000.0)
    assert served.expires == CA.expires
    for one in (CA, SERVED):
        found = x509.load_pem_x509_certificate(one.pem.encode())
        assert found.not_valid_before_utc.timestamp() == NOW - 3600


def test_of_two_authorities_of_one_name_the_one_that_signed_is_told() -> None:
    other, _ = PKI.new_authority(NOW, 1000.0)
    found = [PKI.certificates(SERVED.pem, cas) for cas in ([CA, other], [other, CA], [other])]
    assert [one.issuer for (one,) in found] == [CA.id, CA.id, ""]


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate_is_none(text: str) -> None:
    assert PKI.certificates(text) == ()


def test_a_key_with_a_password_is_none_and_asks_nobody() -> None:
    key = serialization.load_pem_private_key(CA_KEY.reveal().encode(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    assert not PKI.matches_key(Sensitive(locked.decode()), CA)


def test_a_context_takes_a_pair_and_tells_nothing_of_one_that_does_not_fit() -> None:
    assert PKI.server_context(SERVED.pem, KEY).minimum_version is ssl.TLSVersion.TLSv1_2
    with pytest.raises(InvalidSettings) as caught:
        PKI.server_context(SERVED.pem, CA_KEY)
    assert caught.value.__context__ is None
    with pytest.raises(InvalidSettings):
        PKI.server_context("nonsense", KEY)
