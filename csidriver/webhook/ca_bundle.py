"""The authorities that kube-apiserver trusts: `caBundle` of the webhook's configuration."""

import logging
from collections.abc import Iterable
from typing import Any, Protocol

from csidriver.core.admission.certificates import (
    Certificate,
    RotationPolicy,
    first_seen,
    to_publish,
)
from csidriver.errors import StoreConflict, StoreError
from csidriver.webhook.certificate_source import CertificateFactory

log = logging.getLogger(__name__)


class PublishedBundles(Protocol):
    """What a configuration says, one PEM text for each of its webhooks."""

    @property
    def bundles(self) -> tuple[str, ...]:
        """The texts."""


class Configuration(Protocol):
    """A MutatingWebhookConfiguration; every method may raise StoreError."""

    def read(self) -> Any:
        """What is `PublishedBundles`, None if there is no such configuration."""

    def write(self, base: Any, bundle: str) -> None:
        """Publish; StoreConflict if the configuration has changed."""


class CaBundle:
    """Keeps it right. `since` is for how long authorities have been published, by id.

    Whoever applies the configuration again leaves caBundle alone or removes it; either is seen at
    the next look. Without a configuration everything counts as published.
    """

    def __init__(
        self,
        configuration: Configuration | None,
        factory: CertificateFactory,
        policy: RotationPolicy,
    ) -> None:
        self.published_since: dict[str, float] = {}
        self.problem = "" if configuration is None else "caBundle was not looked at yet"
        self._configuration = configuration
        self._factory = factory
        self._policy = policy
        self._unknown_since: dict[str, float] = {}

    def publish(self, trusted: Iterable[Certificate], now: float) -> None:
        """Have these authorities trusted.

        Raises StoreError. A look that fails proves nothing, so `problem` stays as it is then: an
        outage of the API server is no reason to call a working webhook not ready.
        """
        if self._configuration is None:
            self.published_since = first_seen(self.published_since, trusted, now)
            return
        found: PublishedBundles | None = self._configuration.read()
        if found is None:
            self.published_since, self._unknown_since = {}, {}
            self.problem = f"{self._configuration} does not exist"
            return
        if not found.bundles:
            self.published_since = {}
            self.problem = f"{self._configuration} has no webhooks"
            return
        wanted, ids = self._wanted(found, tuple(trusted), now), self._ids(found)
        everywhere = set.intersection(*ids)
        # What is there counts, also when no more can be written.
        self.published_since = first_seen(
            self.published_since, [one for one in wanted if one.id in everywhere], now
        )
        if any(there != {one.id for one in wanted} for there in ids):
            self._write(self._configuration, found, wanted)
        self.published_since = first_seen(self.published_since, wanted, now)
        self.problem = ""

    def problem_for(self, served: Certificate) -> str:
        """Why kube-apiserver would not trust this certificate, "" if it does."""
        return "" if served.issuer in self.published_since else self.problem

    def _wanted(
        self, found: PublishedBundles, trusted: tuple[Certificate, ...], now: float
    ) -> tuple[Certificate, ...]:
        ours = {one.id for one in trusted}
        present = [one for text in found.bundles for one in self._factory.certificates(text)]
        strangers = {one.id: one for one in present if one.id not in ours}
        self._unknown_since = first_seen(self._unknown_since, strangers.values(), now)
        return to_publish(trusted, strangers.values(), self._unknown_since, now, self._policy)

    def _ids(self, found: PublishedBundles) -> list[set[str]]:
        return [{one.id for one in self._factory.certificates(text)} for text in found.bundles]

    def _write(
        self, configuration: Configuration, found: PublishedBundles, wanted: Iterable[Certificate]
    ) -> None:
        try:
            configuration.write(found, "".join(one.pem for one in wanted))
        except StoreConflict:
            raise
        except StoreError as error:
            self.problem = f"caBundle of {configuration} is not ours: {error}"
            raise
        log.info("caBundle of %s is up to date", configuration)
