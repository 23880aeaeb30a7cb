"""Metrics of the webhook role; `docs/reference.md` explains them."""

from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)


class Result(Enum):
    """The result of a request."""

    INJECTED = "injected"
    UNCHANGED = "unchanged"
    DENIED = "denied"
    # The body is not an AdmissionReview.
    REFUSED = "refused"
    FAILED = "failed"


class WebhookMetrics:
    """The metrics of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.admissions = Counter(
            "oauth2_csi_webhook_admissions",
            "Requests answered, by result",
            ["result"],
            registry=registry,
        )
        for result in Result:
            self.admissions.labels(result.value)
        self.seconds = Histogram(
            "oauth2_csi_webhook_admission_seconds",
            "Time from the first byte of a request to the last of its answer",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.connections = Gauge(
            "oauth2_csi_webhook_connections", "Connections that are open", registry=registry
        )
        self.expiry = Gauge(
            "oauth2_csi_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate that is served expires, 0 without one",
            registry=registry,
        )
