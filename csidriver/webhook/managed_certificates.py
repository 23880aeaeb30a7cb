"""Certificates that the webhook makes itself: issued, shared, renewed and trusted."""

import logging
import threading

from prometheus_client import Gauge

from csidriver.clock import WaitingClock
from csidriver.core.admission.certificates import RotationPolicy, RotationStep, may_serve, next_step
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.errors import DriverError, StoreConflict, StoreError
from csidriver.webhook.ca_bundle import CaBundle
from csidriver.webhook.certificate_secret import CertificateSecret, KeyedCertificates
from csidriver.webhook.certificate_source import (
    Certificates,
    ServingCertificate,
    certificate_problems,
    with_cause,
)
from csidriver.webhook.x509 import CertificateFactory

log = logging.getLogger(__name__)

_FIRST_RETRY = 0.5  # seconds after a failure, doubled with each further one


class ManagedCertificates(Certificates):
    """Serves the certificate in a Secret that all replicas share, and renews it there."""

    def __init__(  # noqa: PLR0913 - the Secret, the bundle and their tools
        self,
        secret: CertificateSecret,
        bundle: CaBundle,
        factory: CertificateFactory,
        clock: WaitingClock,
        expiry: Gauge,
        *,
        names: frozenset[str],
        policy: RotationPolicy,
    ) -> None:
        self._secret = secret
        self._bundle = bundle
        self._factory = factory
        self._clock = clock
        self._expiry = expiry
        self._names = names
        self._policy = policy
        self._error = ""
        self._failures = 0

    def problems(self) -> list[str]:
        served, bundle = self._served, self._bundle
        problems = certificate_problems(served, self._error, self._clock.now())
        problem = bundle.problem if served is None else bundle.problem_for(served.certificate)
        return [*problems, with_cause(problem, self._error)] if problem else problems

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._clock.wait(stop, self.reconcile())

    def reconcile(self) -> float:
        """Do what is due; return in how many seconds to reconcile again."""
        now = self._clock.now()
        try:
            due = self._reconcile(now)
        except StoreConflict:
            return self._retry_delay()  # another replica was faster; the next read shows its work
        except DriverError as error:
            if str(error) != self._error:
                self._error = str(error)
                log.warning("%s", error)
            return self._retry_delay()
        self._error = ""
        if due > now and self._bundle.problem:
            return self._retry_delay()  # the configuration may be installed after the webhook
        self._failures = 0
        return min(self._policy.poll_interval, max(0.0, due - now))

    def _retry_delay(self) -> float:
        self._failures += 1
        return min(self._policy.poll_interval, _FIRST_RETRY * 2.0 ** min(self._failures - 1, 10))

    def _reconcile(self, now: float) -> float:
        """Return when something is due next (epoch seconds)."""
        stored = self._secret.read()
        certificates, bundle_error = None, None
        if stored.keyed is not None:
            certificates = stored.keyed.certificates
            try:
                self._bundle.update(certificates.authorities, now)
            except StoreError as error:
                # Serving and renewing go on.
                bundle_error = error
            self._serve(stored.keyed, now)
        plan = next_step(certificates, self._names, now, self._policy)
        if plan.step is not RotationStep.KEEP:
            if stored.problems:
                log.warning("replacing damaged %s: %s", self._secret, "; ".join(stored.problems))
            self._secret.apply(plan, stored, now)
            log.info("%s: %s", self._secret, plan.step.value)
        if bundle_error is not None:
            raise bundle_error
        return plan.due_at if plan.step is RotationStep.KEEP else now

    def _serve(self, keyed: KeyedCertificates, now: float) -> None:
        served = None if self._served is None else self._served.certificate
        offered = keyed.certificates.serving
        if served is not None and served.id == offered.id:
            return
        if served is not None and served.expires > now and not self._names <= offered.names:
            return  # another role has renewed it; that it has our names, too, is the next step
        if not may_serve(offered, served, self._bundle.trusted_since, now, self._policy):
            return
        context = self._factory.server_context(offered.pem, keyed.serving_key)
        self._served = ServingCertificate(offered, context, offered.pem, keyed.serving_key)
        self._expiry.set(offered.expires)
        log.info("serving certificate %.16s, until %s", offered.id, format_rfc3339(offered.expires))
