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
    with_cause,
)
from csidriver.webhook.metrics import WebhookMetrics

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5  # seconds after a failure, then twice as long each time


class ManagedCertificates:
    """Follows the Secret that replicas share; what any of them has made, all of them serve."""

    def __init__(  # noqa: PLR0913 - two halves of a story and what they are told with
        self,
        secret: CertificateSecret,
        bundle: CaBundle,
        factory: CertificateFactory,
        clock: WaitingClock,
        metrics: WebhookMetrics,
        *,
        names: frozenset[str],
        policy: RotationPolicy,
    ) -> None:
        self._secret = secret
        self._bundle = bundle
        self._factory = factory
        self._clock = clock
        self._metrics = metrics
        self._names = names
        self._policy = policy
        self._served: ServingCertificate | None = None
        self._error = ""
        self._failures = 0

    def context(self) -> ssl.SSLContext | None:
        """What to serve new connections with, None as long as there is nothing."""
        served = self._served
        return None if served is None else served.context

    def problems(self) -> list[str]:
        """Why kube-apiserver would not accept us, nothing if it would."""
        served = self._served
        problems = certificate_problems(served, self._error, self._clock.now())
        bundle = self._bundle
        problem = bundle.problem if served is None else bundle.problem_for(served.certificate)
        return [*problems, with_cause(problem, self._error)] if problem else problems

    def run(self, stop: threading.Event) -> None:
        """Look, act, wait, until `stop`."""
        while not stop.is_set():
            self._clock.wait(stop, self.reconcile())

    def reconcile(self) -> float:
        """Do what is to be done; in how many seconds to look again."""
        now = self._clock.now()
        try:
            at = self._reconcile(now)
        except StoreConflict:
            return self._retry_delay()  # another replica was faster; what it has made is there
        except DriverError as error:
            if str(error) != self._error:
                self._error = str(error)
                log.warning("%s", error)
            return self._retry_delay()
        self._error = ""
        if at > now and self._bundle.problem:
            return self._retry_delay()  # installed in whatever order, it is soon seen
        self._failures = 0
        return min(self._policy.poll_interval, max(0.0, at - now))

    def _retry_delay(self) -> float:
        self._failures += 1
        return min(self._policy.poll_interval, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))

    def _reconcile(self, now: float) -> float:
        """When to look again (epoch seconds)."""
        holding = self._secret.read()
        unpublished = None
        if holding.keyed is not None:
            try:
                self._bundle.publish(holding.keyed.certificates.authorities, now)
            except StoreError as error:
                # Certificates are served and renewed all the same.
                unpublished = error
            self._serve(holding.keyed, now)
        stock = None if holding.keyed is None else holding.keyed.certificates
        plan = next_step(stock, self._names, now, self._policy)
        if plan.step is not RotationStep.KEEP:
            if holding.problems:
                log.warning("%s is made anew: %s", self._secret, "; ".join(holding.problems))
            self._secret.apply(plan, holding, now)
            log.info("%s: %s", self._secret, plan.step.value)
        if unpublished is not None:
            raise unpublished
        return plan.due_at if plan.step is RotationStep.KEEP else now

    def _serve(self, material: KeyedCertificates, now: float) -> None:
        served = None if self._served is None else self._served.certificate
        offered = material.certificates.serving
        if served is not None and served.id == offered.id:
            return
        if not may_serve(offered, served, self._bundle.published_since, now, self._policy):
            return
        self._served = ServingCertificate(
            offered, self._factory.server_context(offered.pem, material.serving_key)
        )
        self._metrics.expiry.set(offered.expires)
        until = datetime.fromtimestamp(offered.expires, UTC)
        log.info("serving certificate %.16s, until %s", offered.id, until.isoformat())
