"""Leader election with a Lease of 15 s that is checked every 5 s, by the production's rules."""

from dataclasses import replace
from typing import TYPE_CHECKING

from csidriver.core.kubernetes.lease import LeaseRecord, ObservedLease, acquired, observe

if TYPE_CHECKING:
    from tests.simulator.replica import Replica

DURATION = 15.0
# A leader stops before others may take the Lease.
RENEW_DEADLINE = 10.0


class StoredLease:
    """The stored Lease, and the last observation of each candidate."""

    def __init__(self) -> None:
        self._stored: LeaseRecord | None = None
        self._observed: dict[str, ObservedLease] = {}
        self._renewed: dict[str, float] = {}
        self._writes = 0

    def acquire(self, candidate: "Replica") -> bool:
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
        self._stored = replace(written, version=str(self._writes))
        self._renewed[candidate.holder] = now
        return True

    def is_leader(self, candidate: "Replica") -> bool:
        renewed = self._renewed.get(candidate.holder)
        return renewed is not None and 0 <= candidate.monotonic() - renewed < RENEW_DEADLINE
