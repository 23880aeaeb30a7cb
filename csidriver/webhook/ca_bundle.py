"""The CAs that kube-apiserver trusts: `caBundle` of the MutatingWebhookConfiguration."""

import logging
from collections.abc import Iterable
from typing import Protocol

from csidriver.core.admission.certificates import (
    Certificate,
    CurrentCaBundles,
    RotationPolicy,
    bundle_contents,
    first_seen,
)
from csidriver.errors import StoreConflict, StoreError
from csidriver.webhook.x509 import CertificateFactory

log = logging.getLogger(__name__)


class Configuration(Protocol):
    """A MutatingWebhookConfiguration; every method may raise StoreError."""

    def read(self) -> CurrentCaBundles | None:
        """Return its bundles, None if it does not exist."""

    def write(self, base: CurrentCaBundles, bundle: str) -> None:
        """Set `caBundle` of every webhook; raises StoreConflict if `base` is outdated."""


class CaBundle:
    """Keeps `caBundle` up to date. `trusted_since[id]` is when CA `id` was first seen there.

    Users who apply the configuration again leave caBundle alone or remove it; the next `update`
    repairs that. Without a configuration every CA counts as trusted.
    """

    def __init__(
        self,
        configuration: Configuration | None,
        factory: CertificateFactory,
        policy: RotationPolicy,
    ) -> None:
        self.trusted_since: dict[str, float] = {}
        self.problem = "" if configuration is None else "the published CAs have not been read yet"
        self._configuration = configuration
        self._factory = factory
        self._policy = policy
        self._unknown_since: dict[str, float] = {}

    def update(self, trusted: Iterable[Certificate], now: float) -> None:
        """Add these CAs to `caBundle`; raises StoreError.

        A failed read proves nothing and leaves `problem` as it was: an outage of the API server
        does not make a working webhook unready.
        """
        if self._configuration is None:
            self.trusted_since = first_seen(self.trusted_since, trusted, now)
            return
        current = self._configuration.read()
        if current is None:
            self.trusted_since, self._unknown_since = {}, {}
            self.problem = f"{self._configuration} does not exist"
            return
        if not current.bundles:
            self.trusted_since = {}
            self.problem = f"{self._configuration} has no webhooks"
            return
        found = [self._factory.certificates(text) for text in current.bundles]
        wanted = self._wanted([ca for bundle in found for ca in bundle], tuple(trusted), now)
        ids = [{ca.id for ca in bundle} for bundle in found]
        in_all = set.intersection(*ids)
        # Before the write, so that it counts also if the write fails.
        present = [ca for ca in wanted if ca.id in in_all]
        self.trusted_since = first_seen(self.trusted_since, present, now)
        if any(bundle != {ca.id for ca in wanted} for bundle in ids):
            self._write(self._configuration, current, wanted)
        self.trusted_since = first_seen(self.trusted_since, wanted, now)
        self.problem = ""

    def problem_for(self, served: Certificate) -> str:
        """Return why kube-apiserver would not trust this certificate, "" if it does."""
        return "" if served.issuer in self.trusted_since else self.problem

    def _wanted(
        self, found: Iterable[Certificate], trusted: tuple[Certificate, ...], now: float
    ) -> tuple[Certificate, ...]:
        ours = {ca.id for ca in trusted}
        unknown = {ca.id: ca for ca in found if ca.id not in ours}.values()
        self._unknown_since = first_seen(self._unknown_since, unknown, now)
        return bundle_contents(trusted, unknown, self._unknown_since, now, self._policy)

    def _write(
        self,
        configuration: Configuration,
        current: CurrentCaBundles,
        wanted: Iterable[Certificate],
    ) -> None:
        try:
            configuration.write(current, "".join(ca.pem for ca in wanted))
        except StoreConflict:
            raise
        except StoreError as error:
            self.problem = f"cannot update the CAs in {configuration}: {error}"
            raise
        log.info("the CAs in %s are up to date", configuration)
