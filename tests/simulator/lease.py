"""Leader election with a Lease of 15 s that is checked every 5 s, by the production's rules."""

from typing import Protocol

from csidriver.core.kubernetes.lease import LeaseRecord, ObservedLease, acquired, observe

DURATION = 15.0
# A leader stops before others may take the Lease.
RENEW_DEADLINE = 10.0


class Candidate(Protocol):
    """A process that takes part in the election."""

    @property
    def holder(self) -> str: ...

    def monotonic(self) -> float: ...

    def now(self) -> float: ...


class StoredLease:
    """The stored Lease, and the last observation of each candidate."""

    def __init__(self) -> None:
        self._stored: LeaseRecord | None = None
        self._observed: dict[str, ObservedLease] = {}
        self._renewed: dict[str, float] = {}
        self._writes = 0

    def acquire(self, candidate: Candidate) -> bool:
        """Renew or take the Lease if allowed; return True if the candidate holds it now."""
        now = candidate.monotonic()
        before = self._observed.get(candidate.holder)
        if before is not None and before.since > now:
            before = None  # of an earlier container
        observed = self._observed[candidate.holder] = observe(before, self._stored, now)
        if not observed.is_expired_for(candidate.holder, now):
            self._renewed.pop(candidate.holder, None)
            return False
        self._writes += 1
        written = acquired(self._stored, candidate.holder, DURATION, candidate.now())
        self._stored = LeaseRecord(
            written.holder,
            written.duration,
            written.acquired_at,
            written.renewed_at,
            written.transitions,
            str(self._writes),
        )
        self._renewed[candidate.holder] = now
        return True

    def is_leader(self, candidate: Candidate) -> bool:
        """Return True if the last renewal is recent enough."""
        renewed = self._renewed.get(candidate.holder)
        return renewed is not None and 0 <= candidate.monotonic() - renewed < RENEW_DEADLINE
