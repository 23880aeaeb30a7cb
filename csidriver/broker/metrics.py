"""The broker's metrics."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from csidriver.core.broker.denial import Denial


class BrokerMetrics:
    """The metrics of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        self.streams = gauge("oauth2_csi_broker_streams", "Streams of nodes that are open")
        self.subscriptions = gauge(
            "oauth2_csi_broker_subscriptions", "Subscriptions of all streams"
        )
        self.companions = gauge("oauth2_csi_broker_companions", "Companions in memory")
        self.updates = counter("oauth2_csi_broker_updates", "Updates sent")
        self.reviews = counter(
            "oauth2_csi_broker_reviews",
            "Reviews of tokens by the API server, by result: accepted, denied, or failed",
            ["result"],
        )
        self.denials = counter(
            "oauth2_csi_broker_denials", "Requests of nodes that were denied, by reason", ["reason"]
        )
        for denial in Denial:
            self.denials.labels(denial.value)
        self.expiry = gauge(
            "oauth2_csi_broker_certificate_expiry_timestamp_seconds",
            "When the certificate that is served expires, 0 without one",
        )
