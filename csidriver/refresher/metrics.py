"""The refresher's metrics; their list with units is docs/operations.md."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric

from csidriver.core.oauth.token_response import Success, TokenResponse

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_NAME = "oauth2_csi_refresher"


class RefresherMetrics:
    """What happens, counted, and what is the case, looked at when somebody asks.

    Labels are bounded: configured issuers, the tables of `core.status`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_NAME}_{name}", text, labels, registry=registry)

        self._token_requests = counter(
            "exchanges", "Refresh tokens presented, by what came of it", "issuer", "outcome"
        )
        self._request_seconds = Histogram(
            f"{_NAME}_exchange_seconds",
            "Time of one exchange at the token endpoint",
            ["issuer"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._introspections = counter(
            "introspections", "Questions about a refresh token", "issuer", "answer"
        )
        self._commit_seconds = Histogram(
            f"{_NAME}_commit_seconds",
            "Time from the end of an exchange until its outcome is stored",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._commit_retries = counter("commit_retries", "Attempts to store an outcome that failed")
        self._changes = counter("changes", "Changes of status and new warnings", "reason")
        self._races = counter(
            "races", "Tokens that another process refreshed as well, or instead", "outcome"
        )
        for outcome in ("lost", "adopted"):
            self._races.labels(outcome)
        self._failed_reconciles = counter(
            "failed_visits", "Visits ended by trouble of the backend or the spool"
        )
        self._leader = Gauge(
            f"{_NAME}_leader", "1 while this process works, 0 while it stands by", registry=registry
        )
        self._gauges = _GaugeCollector()
        registry.register(self._gauges)

    def collect_with(self, collect: Callable[[], Iterator[Metric]] | None) -> None:
        """From now on also show what this finds each time; None for nothing."""
        self._gauges.collector = collect

    def set_leader(self, leading: bool) -> None:  # noqa: FBT001 - a gauge takes what is the case
        """This process works, or stands by."""
        self._leader.set(leading)

    def token_requested(self, issuer: str, outcome: TokenResponse, seconds: float) -> None:
        """An exchange ended after so many seconds."""
        label = "ok" if isinstance(outcome, Success) else outcome.reason.value
        self._token_requests.labels(issuer, label).inc()
        self._request_seconds.labels(issuer).observe(seconds)

    def introspected(self, issuer: str, active: bool | None) -> None:  # noqa: FBT001 - the answer
        """A server was asked about a refresh token."""
        answer = {True: "active", False: "inactive", None: "none"}[active]
        self._introspections.labels(issuer, answer).inc()

    def committed(self, seconds: float) -> None:
        """An outcome was stored so many seconds after the exchange ended."""
        self._commit_seconds.observe(seconds)

    def commit_failed(self) -> None:
        """An attempt to store an outcome failed; it is repeated."""
        self._commit_retries.inc()

    def race_lost(self) -> None:
        """Tokens of ours came too late: somebody else had refreshed or reseeded meanwhile."""
        self._races.labels("lost").inc()

    def race_adopted(self) -> None:
        """Another process's tokens were taken over."""
        self._races.labels("adopted").inc()

    def status_changed(self, reason: str) -> None:
        """A status or a warning of the status table was told."""
        self._changes.labels(reason).inc()

    def reconcile_failed(self) -> None:
        """A visit ended early; it is repeated."""
        self._failed_reconciles.inc()


class _GaugeCollector:
    """A collector as prometheus_client wants it."""

    def __init__(self) -> None:
        self.collector: Callable[[], Iterator[Metric]] | None = None

    def collect(self) -> Iterator[Metric]:
        """What there is at this moment."""
        return iter(()) if self.collector is None else self.collector()
