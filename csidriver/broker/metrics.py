"""The broker's metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from csidriver.core.broker.denial import Denial


class BrokerMetrics:
    """The metrics of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge(
            "oauth2_csi_broker_streams", "Streams of nodes that are open", registry=registry
        )
        self.subscriptions = Gauge(
            "oauth2_csi_broker_subscriptions", "Subscriptions of all streams", registry=registry
        )
        self.companions = Gauge(
            "oauth2_csi_broker_companions", "Companions in memory", registry=registry
        )
        self.updates = Counter("oauth2_csi_broker_updates", "Updates sent", registry=registry)
        self.reviews = Counter(
            "oauth2_csi_broker_reviews",
            "Reviews of tokens by the API server, by result: accepted, denied, or failed",
            ["result"],
            registry=registry,
        )
        self.denials = Counter(
            "oauth2_csi_broker_denials",
            "Requests of nodes that were denied, by reason",
            ["reason"],
            registry=registry,
        )
        for denial in Denial:
            self.denials.labels(denial.value)
        self.expiry = Gauge(
            "oauth2_csi_broker_certificate_expiry_timestamp_seconds",
            "When the certificate that is served expires, 0 without one",
            registry=registry,
        )
