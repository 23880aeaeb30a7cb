"""What is the case at this moment, as metrics: looked at when somebody asks, not kept."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from csidriver.core.status import Status
from csidriver.refresher.rate_limiter import IssuerLoad
from csidriver.refresher.state_cache import CacheSummary

_NAME = "oauth2_csi_refresher"


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """`overdue`: how many tokens are due and not worked on, and for how many seconds the first."""

    sources: int
    summary: CacheSummary
    overdue: tuple[int, float]
    spool_entries: int
    loads: list[IssuerLoad]


def collect_gauges(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    """Everything a scene shows. Labels are bounded: configured issuers, the table of statuses."""
    yield _gauge("sources", "Annotated Secrets known", snapshot.sources)
    depth, seconds = snapshot.overdue
    yield _gauge("queue_depth", "Tokens that are due and wait for a worker", depth)
    yield _gauge("queue_oldest_seconds", "Since when the first of them waits", seconds)
    yield _gauge(
        "spool_entries", "Exchanges that are not stored everywhere yet", snapshot.spool_entries
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
        f"{_NAME}_demanded_exchanges", "Exchanges that tokens asked for", labels=["issuer"]
    )
    allowed = _issuer_gauge("allowed_rate", "Exchanges a second that the issuer may be asked for")
    running = _issuer_gauge("in_flight", "Exchanges under way")
    waiting = _issuer_gauge("waiting_tokens", "Tokens that were told to wait for their turn")
    breaker = _issuer_gauge("breaker_state", "0 closed, 1 one exchange at a time, 2 open")
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
