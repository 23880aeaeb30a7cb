"""The refresher's metrics; docs/reference.md lists them with their units.

Labels are bounded: configured issuers, statuses (`core.status`) and reasons of failures
(`core.oauth.failure_reason`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from csidriver.core.oauth.token_response import Success, TokenResponse
from csidriver.core.status import Status
from csidriver.refresher.rate_limiter import IssuerLoad
from csidriver.refresher.state_cache import CacheSummary

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_NAME = "oauth2_csi_refresher"


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """The values of the gauges at one moment.

    `overdue`: how many tokens are due without a worker, and for how many seconds the first of them.
    """

    sources: int
    summary: CacheSummary
    overdue: tuple[int, float]
    spool_entries: int
    loads: list[IssuerLoad]


class RefresherMetrics:
    """Counters of events, and gauges that are computed when somebody reads them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_NAME}_{name}", text, labels, registry=registry)

        self._token_requests = counter(
            "exchanges", "Refresh tokens presented, by outcome", "issuer", "outcome"
        )
        self._request_seconds = Histogram(
            f"{_NAME}_exchange_seconds",
            "Time of one request to the token endpoint",
            ["issuer"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.introspections = counter(
            "introspections", "Introspections of a refresh token", "issuer", "answer"
        )
        self.commit_seconds = Histogram(
            f"{_NAME}_commit_seconds",
            "Time from the end of a token request until its outcome is stored",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.commit_retries = counter("commit_retries", "Failed attempts to store an outcome")
        self.changes = counter("changes", "Changes of status and new warnings", "reason")
        races = counter(
            "races", "Tokens that another process refreshed as well, or instead", "outcome"
        )
        self.race_lost, self.race_adopted = races.labels("lost"), races.labels("adopted")
        self.failed_reconciliations = counter(
            "failed_visits", "Reconciliations that the backend or the spool made fail"
        )
        self.leader = Gauge(
            f"{_NAME}_leader", "1 while this process works, 0 while it stands by", registry=registry
        )
        self._gauges = _GaugeCollector()
        registry.register(self._gauges)

    def collect_with(self, snapshot: Callable[[], MetricsSnapshot] | None) -> None:
        """Take the gauges from `snapshot` from now on; None for no gauges."""
        self._gauges.snapshot = snapshot

    def token_requested(self, issuer: str, outcome: TokenResponse, seconds: float) -> None:
        """Count a token request that took so many seconds."""
        label = "ok" if isinstance(outcome, Success) else outcome.reason.value
        self._token_requests.labels(issuer, label).inc()
        self._request_seconds.labels(issuer).observe(seconds)


class _GaugeCollector:
    """A collector as prometheus_client calls it."""

    def __init__(self) -> None:
        self.snapshot: Callable[[], MetricsSnapshot] | None = None

    def collect(self) -> Iterator[Metric]:
        if self.snapshot is not None:
            yield from _gauges(self.snapshot())


def _gauges(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    depth, seconds = snapshot.overdue
    yield _gauge("sources", "Annotated Secrets known", snapshot.sources)
    yield _gauge("queue_depth", "Due tokens that wait for a worker", depth)
    yield _gauge("queue_oldest_seconds", "Time for which the first of them has waited", seconds)
    yield _gauge(
        "spool_entries", "Token requests that are not stored everywhere yet", snapshot.spool_entries
    )
    tokens = GaugeMetricFamily(f"{_NAME}_tokens", "Tokens by status", labels=["status"])
    for status in Status:
        tokens.add_metric([status.value], snapshot.summary.statuses.get(status, 0))
    yield tokens
    yield from _expiry_gauges(snapshot.summary)
    yield from _load_gauges(snapshot.loads)


def _expiry_gauges(summary: CacheSummary) -> Iterator[Metric]:
    earliest = _issuer_gauge(
        "earliest_expiry_timestamp_seconds", "When the next access token in use expires"
    )
    expired = _issuer_gauge("expired_tokens", "Tokens in use whose access token has expired")
    for issuer, at in summary.earliest.items():
        earliest.add_metric([issuer], at)
        expired.add_metric([issuer], summary.expired.get(issuer, 0))
    login = _issuer_gauge(
        "earliest_refresh_token_expiry_timestamp_seconds",
        "When the next refresh token ends that no refresh prolongs",
    )
    for issuer, at in summary.login_ends.items():
        login.add_metric([issuer], at)
    yield from (earliest, expired, login)


def _load_gauges(loads: list[IssuerLoad]) -> Iterator[Metric]:
    demanded = CounterMetricFamily(
        f"{_NAME}_demanded_exchanges", "Token requests that tokens needed", labels=["issuer"]
    )
    allowed = _issuer_gauge("allowed_rate", "Token requests a second that the issuer may get")
    running = _issuer_gauge("in_flight", "Token requests under way")
    waiting = _issuer_gauge("waiting_tokens", "Tokens that wait for their turn")
    breaker = _issuer_gauge("breaker_state", "0 closed, 1 one request at a time, 2 open")
    for load in loads:
        demanded.add_metric([load.issuer], load.demanded)
        allowed.add_metric([load.issuer], load.allowed)
        running.add_metric([load.issuer], load.in_flight)
        waiting.add_metric([load.issuer], load.waiting)
        breaker.add_metric([load.issuer], load.state)
    yield from (demanded, allowed, running, waiting, breaker)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_NAME}_{name}", text, value=value)


def _issuer_gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_NAME}_{name}", text, labels=["issuer"])
