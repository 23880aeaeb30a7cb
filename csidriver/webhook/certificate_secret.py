"""The Secret in which replicas share the CA, the serving certificate and their keys."""

from dataclasses import dataclass, field
from typing import Protocol

from csidriver.core.admission.certificates import (
    CertificateSet,
    RotationPlan,
    RotationPolicy,
    RotationStep,
    still_trusted,
)
from csidriver.core.annotations import CERTIFICATE_SECRET_TYPE
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import CERTIFICATE
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSecret, NotReady
from csidriver.webhook.x509 import CertificateFactory

# Keys as in Secrets of type kubernetes.io/tls. The first CA is the one that signs.
_CAS, _CA_KEY = "ca.crt", "ca.key"
_SERVING, _SERVING_KEY = "tls.crt", "tls.key"


class SecretStore(Protocol):
    """Secrets of a backend; every method may raise StoreError."""

    def get_secret(self, namespace: str, name: str) -> Secret | None: ...

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret: ...


@dataclass(frozen=True, slots=True)
class KeyedCertificates:
    """Certificates with the keys of the signing CA and of the server."""

    certificates: CertificateSet
    authority_key: Sensitive
    serving_key: Sensitive


@dataclass(frozen=True, slots=True)
class StoredCertificates:
    """The Secret and its content: None if it is still empty, or has `problems`."""

    secret: Secret
    keyed: KeyedCertificates | None
    problems: tuple[str, ...] = field(default=())


def empty_secret(namespace: str) -> Secret:
    """Return that Secret as the manifests bring it."""
    return Secret(namespace, CERTIFICATE, type=CERTIFICATE_SECRET_TYPE)


class CertificateSecret:
    """Reads and writes that Secret; every method may raise StoreError."""

    def __init__(
        self,
        store: SecretStore,
        factory: CertificateFactory,
        namespace: str,
        policy: RotationPolicy,
    ) -> None:
        self._store = store
        self._factory = factory
        self._namespace = namespace
        self._policy = policy

    def __str__(self) -> str:
        return f"Secret {self._namespace}/{CERTIFICATE}"

    def read(self) -> StoredCertificates:
        """Read the Secret; raises NotReady without it, InvalidSecret if it has another type."""
        secret = self._store.get_secret(self._namespace, CERTIFICATE)
        if secret is None:
            # The webhook has no right to create it: that one would be for any name.
            raise NotReady(f"{self} does not exist; apply the manifests or upgrade the chart again")
        if secret.type != CERTIFICATE_SECRET_TYPE:
            cure = "delete it, or use its content with --tls-cert-file and --tls-key-file"
            problem = f"its type is not {CERTIFICATE_SECRET_TYPE}, so nobody touches it"
            raise InvalidSecret(f"{self}", [f"{problem}; {cure}"])
        if not secret.data:
            return StoredCertificates(secret, None)
        data = {key: secret.data.get(key, Sensitive("")) for key in (_CA_KEY, _SERVING_KEY)}
        texts = {key: value.reveal() for key, value in secret.data.items()}
        authorities = self._factory.certificates(texts.get(_CAS, ""))
        serving = self._factory.certificates(texts.get(_SERVING, ""), authorities)
        problems = [
            f"{key} is missing or not a certificate"
            for key, found in ((_CAS, authorities), (_SERVING, serving))
            if not found
        ]
        if not problems:
            if not serving[0].issuer:
                problems.append(f"{_SERVING} is not signed by a CA of {_CAS}")
            if not self._factory.matches_key(data[_CA_KEY], authorities[0]):
                problems.append(f"{_CA_KEY} is not the key of {_CAS}")
            if not self._factory.matches_key(data[_SERVING_KEY], serving[0]):
                problems.append(f"{_SERVING_KEY} is not the key of {_SERVING}")
        if problems:
            return StoredCertificates(secret, None, tuple(problems))
        certificates = CertificateSet(authorities, serving[0])
        return StoredCertificates(
            secret, KeyedCertificates(certificates, data[_CA_KEY], data[_SERVING_KEY])
        )

    def apply(self, plan: RotationPlan, stored: StoredCertificates, now: float) -> None:
        """Issue what `plan` says and store it; raises StoreConflict if `stored` is outdated.

        If two replicas do the same, the API server accepts the write of one of them.
        """
        issued = self._issue(plan, stored.keyed, now)
        data = {
            _CAS: Sensitive("".join(ca.pem for ca in issued.certificates.authorities)),
            _CA_KEY: issued.authority_key,
            _SERVING: Sensitive(issued.certificates.serving.pem),
            _SERVING_KEY: issued.serving_key,
        }
        self._store.patch_secret(stored.secret, SecretPatch(data=dict(data)))

    def _issue(
        self, plan: RotationPlan, current: KeyedCertificates | None, now: float
    ) -> KeyedCertificates:
        policy = self._policy
        authorities = () if current is None else current.certificates.authorities
        if current is None or plan.step is RotationStep.RENEW_ALL:
            authority, key = self._factory.new_authority(now, policy.authority_lifetime)
        else:
            authority, key = authorities[0], current.authority_key
            authorities = authorities[1:]
        serving, serving_key = self._factory.issue_serving_certificate(
            authority, key, plan.names, now, policy.serving_lifetime
        )
        trusted = (authority, *still_trusted(authorities, now))
        return KeyedCertificates(CertificateSet(trusted, serving), key, serving_key)
