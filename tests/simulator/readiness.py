"""Invariant 14: nothing says Ready for long after its access token has expired.

Looks at sources, companions and the summary for the metrics when they should have changed. A
process has an excuse while it does not work, is frozen, cannot reach the API server, or was not
told of a change; and for a moment after that. Two that work at once, without an election, may
wait for the slower of their clocks.
"""

from typing import TYPE_CHECKING

from csidriver.core import annotations, companion, names
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.kubernetes.timestamp import parse_rfc3339
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from csidriver.refresher.controller import MAX_BACKOFF
from tests.simulator.cluster import Cluster
from tests.simulator.event_loop import EventLoop

if TYPE_CHECKING:
    from tests.simulator.replica import Replica

# Seconds in which a status must change.
GRACE = 2.0
# More than the accuracy of the instants that are compared, which annotations round down.
_EPSILON = 0.01


def expiry_if_ready(secret: Secret | None) -> float | None:
    """Return the expiry of the access token of a source or companion that says Ready."""
    if secret is None or secret.annotations.get(annotations.STATUS) != Status.READY.value:
        return None
    parsed = companion.parse_or_none(secret)
    if parsed is not None:
        return 0.0 if parsed.token is None else parsed.token.expires_at
    return (parse_rfc3339(secret.annotations.get(annotations.EXPIRES_AT, "")) or 0.0) + 1.0


class ReadinessCheck:
    """Schedules a check for each process whenever something says Ready."""

    def __init__(self, loop: EventLoop, cluster: Cluster) -> None:
        self.loop, self.cluster = loop, cluster
        self.replicas: list[Replica] = []
        # When the backend failed last, for a process and a token.
        self._store_failed_at: dict[tuple[str, SourceRef], float] = {}
        # The expiry of what a process knows as Ready, and is checked.
        self._cached: dict[tuple[str, SourceRef], float] = {}
        # Who wrote a source or companion last, and when.
        self._written: dict[SourceRef, tuple[str, float]] = {}

    def on_write(self, writer: str, after: Secret | None) -> None:
        expires_at = expiry_if_ready(after)
        if after is None or expires_at is None:
            return
        ref = SourceRef(after.namespace, after.name)
        ref = self.cluster.token_objects.get((after.namespace, after.name), ref)
        self._written[ref] = writer, self.loop.now
        for replica in self.replicas:
            self._check_at(replica, ref, expires_at - replica.offset)

    def on_cached(self, replica: "Replica", ref: SourceRef) -> None:
        grant = replica.cache.peek(ref).grant
        key = replica.holder, ref
        if grant is None or grant.status is not Status.READY:
            self._cached.pop(key, None)
        elif self._cached.get(key) != grant.expires_at:
            self._cached[key] = grant.expires_at
            self._check_at(replica, ref, grant.expires_at - replica.offset)

    def on_store_failure(self, replica: "Replica", ref: SourceRef) -> None:
        self._store_failed_at[replica.holder, ref] = self.loop.now

    def on_informed(self, replica: "Replica") -> None:
        """Note that a process works again, and knows all tokens."""
        for ref in self.cluster.refs():
            self._check_at(replica, ref, self.loop.now)

    def _check_at(self, replica: "Replica", ref: SourceRef, expired_at: float) -> None:
        at = max(expired_at, self.loop.now) + GRACE + _EPSILON
        self.loop.call_at(at, lambda: self._check(replica, ref))

    def _check(self, replica: "Replica", ref: SourceRef) -> None:
        if not replica.up or not replica.working or ref in replica.uninformed:
            return  # checked again by `on_informed`
        for name, expires_at in self._claims(replica, ref):
            if expires_at + GRACE >= replica.now():
                continue
            excused_until = self._excused_until(replica, ref, expires_at)
            if self.loop.now < excused_until:
                self.loop.call_at(excused_until + _EPSILON, lambda: self._check(replica, ref))
                return
            text = f"14: the {name} of {ref.name} is Ready after its access token has expired"
            self.loop.report_violation(text)

    def _claims(self, replica: "Replica", ref: SourceRef) -> list[tuple[str, float]]:
        objects = {
            "source": (ref.namespace, ref.name),
            "companion": (names.TOKENS_NAMESPACE, ref.companion),
        }
        expiries = {n: expiry_if_ready(self.cluster.secrets.get(k)) for n, k in objects.items()}
        grant = replica.cache.peek(ref).grant
        if grant is not None and grant.status is Status.READY and self._counts_expired(replica):
            expiries["metric"] = grant.expires_at
        return [(name, at) for name, at in expiries.items() if at is not None]

    def _counts_expired(self, replica: "Replica") -> bool:
        now = replica.now()
        grants = [replica.cache.peek(ref).grant for ref in replica.cache.refs()]
        ready = [g for g in grants if g is not None and g.status is Status.READY]
        valid = sum(grant.expires_at > now for grant in ready)
        return replica.cache.summary(now).statuses.get(Status.READY, 0) > valid

    def _excused_until(self, replica: "Replica", ref: SourceRef, expires_at: float) -> float:
        failed_at = self._store_failed_at.get((replica.holder, ref), 0.0)
        backend = failed_at + MAX_BACKOFF if failed_at else 0.0
        writer, written_at = self._written.get(ref, ("", 0.0))
        informed = replica.working_since if writer == replica.holder else written_at
        working = [r for r in self.replicas if r.working and r.frozen_until <= self.loop.now]
        expired = max((expires_at - r.offset for r in working), default=0.0)
        since = (replica.working_since, replica.frozen_until, informed, backend, expired)
        return max(since) + GRACE
