"""The Secret in which replicas share authority, certificate and their keys."""

from dataclasses import dataclass, field
from typing import Protocol

from csidriver.core.admission.certificates import (
    CertificateSet,
    RotationPlan,
    RotationPolicy,
    RotationStep,
    still_trusted,
)
from csidriver.core.annotations import CERTIFICATE_TYPE
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import CERTIFICATE
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSecret
from csidriver.webhook.certificate_source import CertificateFactory

# Names as in Secrets of type kubernetes.io/tls. The first authority is the one that signs.
_AUTHORITIES, _AUTHORITY_KEY = "ca.crt", "ca.key"
_SERVING, _SERVING_KEY = "tls.crt", "tls.key"


class SecretStore(Protocol):
    """Secrets of a backend; every method may raise StoreError."""

    def get_secret(self, namespace: str, name: str) -> Secret | None:
        """The Secret, None if there is none."""

    def create_secret(self, secret: Secret) -> Secret:
        """Store a new Secret; raises StoreConflict if it exists."""

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        """Change a Secret; raises StoreConflict unless it is still the one in `base`."""


@dataclass(frozen=True, slots=True)
class KeyedCertificates:
    """Certificates with the keys of the authority that signs and of the server."""

    certificates: CertificateSet
    authority_key: Sensitive
    serving_key: Sensitive


@dataclass(frozen=True, slots=True)
class StoredCertificates:
    """The Secret as read (None: absent), and what it holds; None if it is `damaged` in some way."""

    secret: Secret | None
    keyed: KeyedCertificates | None
    problems: tuple[str, ...] = field(default=())


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
        """What there is; raises InvalidSecret for a Secret that is not ours to repair."""
        secret = self._store.get_secret(self._namespace, CERTIFICATE)
        if secret is None:
            return StoredCertificates(None, None)
        if secret.type != CERTIFICATE_TYPE:
            cure = "delete it, or serve what it holds with --tls-cert-file and --tls-key-file"
            raise InvalidSecret(f"{self}", [f"somebody else made it, it is not touched; {cure}"])
        texts = {key: value.reveal() for key, value in secret.data.items()}
        authorities = self._factory.certificates(texts.get(_AUTHORITIES, ""))
        serving = self._factory.certificates(texts.get(_SERVING, ""), authorities)
        keys = [secret.data.get(key, Sensitive("")) for key in (_AUTHORITY_KEY, _SERVING_KEY)]
        damages = [
            f"{key} is missing or no certificate"
            for key, found in ((_AUTHORITIES, authorities), (_SERVING, serving))
            if not found
        ]
        if not damages:
            damages = [
                fault
                for fault, holds in (
                    (f"{_SERVING} is signed by none of {_AUTHORITIES}", not serving[0].issuer),
                    (
                        f"{_AUTHORITY_KEY} does not fit",
                        not self._factory.matches_key(keys[0], authorities[0]),
                    ),
                    (
                        f"{_SERVING_KEY} does not fit",
                        not self._factory.matches_key(keys[1], serving[0]),
                    ),
                )
                if holds
            ]
        if damages:
            return StoredCertificates(secret, None, tuple(damages))
        return StoredCertificates(
            secret, KeyedCertificates(CertificateSet(authorities, serving[0]), *keys)
        )

    def apply(self, plan: RotationPlan, stored: StoredCertificates, now: float) -> None:
        """Take a step and store what it makes; raises StoreConflict if another replica was faster.

        The API server decides which of two replicas that take the same step has taken it.
        """
        made = self._issue(plan, stored.keyed, now)
        data = {
            _AUTHORITIES: Sensitive("".join(one.pem for one in made.certificates.authorities)),
            _AUTHORITY_KEY: made.authority_key,
            _SERVING: Sensitive(made.certificates.serving.pem),
            _SERVING_KEY: made.serving_key,
        }
        if stored.secret is None:
            self._store.create_secret(
                Secret(self._namespace, CERTIFICATE, type=CERTIFICATE_TYPE, data=data)
            )
        else:
            self._store.patch_secret(stored.secret, SecretPatch(data=dict(data)))

    def _issue(
        self, plan: RotationPlan, held: KeyedCertificates | None, now: float
    ) -> KeyedCertificates:
        terms, before = self._policy, () if held is None else held.certificates.authorities
        if held is None or plan.step is RotationStep.RENEW_ALL:
            authority, key = self._factory.new_authority(now, terms.authority_lifetime)
            authorities = (authority, *still_trusted(before, now))
        else:
            authority, key = before[0], held.authority_key
            authorities = (authority, *still_trusted(before[1:], now))
        serving, serving_key = self._factory.issue_serving_certificate(
            authority, key, plan.names, now, terms.serving_lifetime
        )
        return KeyedCertificates(CertificateSet(authorities, serving), key, serving_key)
