"""The Lease: 15 s, looked at every 5 s, by the production's rules of tenure."""

from typing import Protocol

from csidriver.core.kubernetes.lease import LeaseRecord, ObservedLease, acquired, observe

DURATION = 15.0
# A holder trusts its last renewal for less than others wait.
RENEW_DEADLINE = 10.0


class Candidate(Protocol):
    """Who wants the Lease."""

    @property
    def holder(self) -> str: ...

    def monotonic(self) -> float: ...

    def now(self) -> float: ...


class StoredLease:
    """The stored Lease, and what each candidate saw of it last."""

    def __init__(self) -> None:
        self._stored: LeaseRecord | None = None
        self._observed: dict[str, ObservedLease] = {}
        self._renewed: dict[str, float] = {}
        self._writes = 0

    def acquire(self, candidate: Candidate) -> bool:
        """Renew or take the Lease if that may be; whether it is held now."""
        now = candidate.monotonic()
        known = self._observed.get(candidate.holder)
        if known is not None and known.since > now:
            known = None  # of an earlier container
        observed = self._observed[candidate.holder] = observe(known, self._stored, now)
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
        """Whether the last renewal is young enough to be relied on."""
        renewed = self._renewed.get(candidate.holder)
        return renewed is not None and 0 <= candidate.monotonic() - renewed < RENEW_DEADLINE
