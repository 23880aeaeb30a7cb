"""Certificates of the webhook's own making: made, shared, renewed and published without restart."""

import logging
import ssl
import threading
from datetime import UTC, datetime

from csidriver.clock import WaitingClock
from csidriver.core.admission.certificates import RotationPolicy, RotationStep, may_serve, next_step
from csidriver.errors import DriverError, StoreConflict, StoreError
from csidriver.webhook.ca_bundle import CaBundle
from csidriver.webhook.certificate_secret import CertificateSecret, KeyedCertificates
from csidriver.webhook.certificate_source import (
    CertificateFactory,
    ServingCertificate,
    certificate_problems,
    told,
)
from csidriver.webhook.metrics import WebhookMetrics

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5  # seconds after a failure, then twice as long each time


class ManagedCertificates:
    """Follows the Secret that replicas share; what any of them has made, all of them serve."""

    def __init__(  # noqa: PLR0913 - two halves of a story and what they are told with
        self,
        shelf: CertificateSecret,
        bundle: CaBundle,
        pki: CertificateFactory,
        clock: WaitingClock,
        metrics: WebhookMetrics,
        *,
        names: frozenset[str],
        terms: RotationPolicy,
    ) -> None:
        self._shelf = shelf
        self._bundle = bundle
        self._pki = pki
        self._clock = clock
        self._metrics = metrics
        self._names = names
        self._terms = terms
        self._served: ServingCertificate | None = None
        self._trouble = ""
        self._failures = 0

    def context(self) -> ssl.SSLContext | None:
        """What to serve new connections with, None as long as there is nothing."""
        served = self._served
        return None if served is None else served.context

    def problems(self) -> list[str]:
        """Why kube-apiserver would not accept us, nothing if it would."""
        served = self._served
        problems = certificate_problems(served, self._trouble, self._clock.now())
        bundle = self._bundle
        problem = bundle.problem if served is None else bundle.problem_of(served.certificate)
        return [*problems, told(problem, self._trouble)] if problem else problems

    def run(self, stop: threading.Event) -> None:
        """Look, act, wait, until `stop`."""
        while not stop.is_set():
            self._clock.wait(stop, self.look())

    def look(self) -> float:
        """Do what is to be done; in how many seconds to look again."""
        now = self._clock.now()
        try:
            at = self._follow(now)
        except StoreConflict:
            return self._retried()  # another replica was faster; what it has made is there
        except DriverError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("%s", error)
            return self._retried()
        self._trouble = ""
        if at > now and self._bundle.problem:
            return self._retried()  # installed in whatever order, it is soon seen
        self._failures = 0
        return min(self._terms.poll, max(0.0, at - now))

    def _retried(self) -> float:
        self._failures += 1
        return min(self._terms.poll, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))

    def _follow(self, now: float) -> float:
        """When to look again (epoch seconds)."""
        holding = self._shelf.read()
        unpublished = None
        if holding.material is not None:
            try:
                self._bundle.publish(holding.material.stock.authorities, now)
            except StoreError as error:
                # Certificates are served and renewed all the same.
                unpublished = error
            self._serve(holding.material, now)
        stock = None if holding.material is None else holding.material.stock
        plan = next_step(stock, self._names, now, self._terms)
        if plan.step is not RotationStep.KEEP:
            if holding.damages:
                log.warning("%s is made anew: %s", self._shelf, "; ".join(holding.damages))
            self._shelf.apply(plan, holding, now)
            log.info("%s: %s", self._shelf, plan.step.value)
        if unpublished is not None:
            raise unpublished
        return plan.at if plan.step is RotationStep.KEEP else now

    def _serve(self, material: KeyedCertificates, now: float) -> None:
        served = None if self._served is None else self._served.certificate
        offered = material.stock.serving
        if served is not None and served.id == offered.id:
            return
        if not may_serve(offered, served, self._bundle.since, now, self._terms):
            return
        self._served = ServingCertificate(
            offered, self._pki.context(offered.pem, material.serving_key)
        )
        self._metrics.expiry.set(offered.expires)
        until = datetime.fromtimestamp(offered.expires, UTC)
        log.info("serving certificate %.16s, until %s", offered.id, until.isoformat())
