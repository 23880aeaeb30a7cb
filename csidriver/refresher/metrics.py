"""The refresher's metrics; their list with units is docs/operations.md."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from csidriver.core.outcome import Ok, Outcome

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)


class RefresherMetrics:
    """Counters of one refresher. Labels are bounded: configured issuers and the signal table."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._exchanges = Counter(
            "oauth2_csi_refresher_exchanges",
            "Refresh tokens presented, by what came of it",
            ["issuer", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "oauth2_csi_refresher_exchange_seconds",
            "Time of one exchange at the token endpoint",
            ["issuer"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._sources = Gauge(
            "oauth2_csi_refresher_sources", "Annotated Secrets known", registry=registry
        )
        self._failed_visits = Counter(
            "oauth2_csi_refresher_failed_visits",
            "Visits ended by trouble of the backend or the spool",
            registry=registry,
        )

    def exchanged(self, issuer: str, outcome: Outcome, seconds: float) -> None:
        """An exchange ended after so many seconds."""
        label = "ok" if isinstance(outcome, Ok) else outcome.signal.value
        self._exchanges.labels(issuer, label).inc()
        self._seconds.labels(issuer).observe(seconds)

    def sources(self, count: int) -> None:
        """So many annotated Secrets are known."""
        self._sources.set(count)

    def visit_failed(self) -> None:
        """A visit ended early; it is repeated."""
        self._failed_visits.inc()
