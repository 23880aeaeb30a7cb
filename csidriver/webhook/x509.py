"""X.509 on the `cryptography` package: issues and reads CA and server certificates.

Keys are of the curve P-256. Certificates begin an hour early, for peers whose clocks are behind.
"""

import ipaddress
import os
import ssl
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from csidriver.core.admission.certificates import Certificate
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings

_BACKDATED = 3600.0
_NAME = "oauth2-csi-webhook"


class CertificateFactory:
    """Issues and reads certificates; thread-safe."""

    def new_authority(self, now: float, lifetime: float) -> tuple[Certificate, Sensitive]:
        key = ec.generate_private_key(ec.SECP256R1())
        # The number is for people: programs distinguish CAs of one name by their keys.
        name = _common_name(f"{_NAME}-ca-{int(now)}")
        public = key.public_key()
        built = (
            _builder(name, public, now, now + lifetime)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        made = built.sign(key, hashes.SHA256())
        return _certificate(made, [made]), _to_pem(key)

    def issue_serving_certificate(
        self,
        authority: Certificate,
        authority_key: Sensitive,
        names: Iterable[str],
        now: float,
        lifetime: float,
    ) -> tuple[Certificate, Sensitive]:
        signer = x509.load_pem_x509_certificate(authority.pem.encode())
        signing_key: Any = serialization.load_pem_private_key(authority_key.reveal().encode(), None)
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in sorted(names)])
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        built = (
            _builder(_common_name(_NAME), public, now, min(now + lifetime, authority.expires))
            .issuer_name(signer.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(purposes, critical=False)
            .add_extension(alternatives, critical=False)
            .add_extension(identifier, critical=False)
        )
        made = built.sign(signing_key, hashes.SHA256())
        return _certificate(made, [signer]), _to_pem(key)

    def certificates(
        self, text: str, authorities: Sequence[Certificate] = ()
    ) -> tuple[Certificate, ...]:
        """Return the certificates of a PEM text, () if it is invalid.

        Their issuers are searched in `authorities`, without these in the text itself.
        """
        try:
            found = x509.load_pem_x509_certificates(text.encode())
            signers = [x509.load_pem_x509_certificate(ca.pem.encode()) for ca in authorities]
            return tuple(_certificate(cert, signers or found) for cert in found)
        except ValueError:
            return ()

    def matches_key(self, key: Sensitive, certificate: Certificate) -> bool:
        try:
            self.server_context(certificate.pem, key)
        except InvalidSettings:
            return False
        return True

    def server_context(self, certificates: str, key: Sensitive) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            _load_pair(context, certificates, key)
        except (OSError, ValueError):  # an SSLError is an OSError
            pass
        else:
            return context
        # Outside of the handler, or Python would attach the foreign error to ours.
        raise InvalidSettings("certificate", ["it cannot be used with its key"])


def _load_pair(context: ssl.SSLContext, certificates: str, key: Sensitive) -> None:
    """Load from a file in memory, because `ssl` only reads files."""
    text = f"{certificates.rstrip()}\n{key.reveal()}".encode()
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, text)
        # An encrypted key must not ask a terminal for its password.
        context.load_cert_chain(f"/proc/self/fd/{file}", password="")
    finally:
        os.close(file)


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, now: float, end: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(now - _BACKDATED), UTC))
        .not_valid_after(datetime.fromtimestamp(int(end), UTC))
    )


def _certificate(
    certificate: x509.Certificate, authorities: Iterable[x509.Certificate]
) -> Certificate:
    identity = _id(certificate)
    issuers = [_id(ca) for ca in authorities if _has_issued(ca, certificate)]
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*found.get_values_for_type(x509.DNSName)]
        names += [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    except x509.ExtensionNotFound:
        names = []
    return Certificate(
        id=identity,
        issuer=issuers[0] if issuers else "",
        expires=certificate.not_valid_after_utc.timestamp(),
        names=frozenset(names),
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
    )


def _has_issued(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _id(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _to_pem(key: ec.EllipticCurvePrivateKey) -> Sensitive:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Sensitive(text.decode("ascii"))
