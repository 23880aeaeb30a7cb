"""The Lease: 15 s, looked at every 5 s, by the production's rules of tenure."""

from typing import Protocol

from csidriver.core.kubernetes.lease import LeaseRecord, ObservedLease, acquired, observe

DURATION = 15.0
# A holder trusts its last renewal for less than others wait.
TRUSTED = 10.0


class Candidate(Protocol):
    """Who wants the Lease."""

    @property
    def holder(self) -> str: ...

    def monotonic(self) -> float: ...

    def now(self) -> float: ...


class Seat:
    """The stored Lease, and what each candidate saw of it last."""

    def __init__(self) -> None:
        self._stored: LeaseRecord | None = None
        self._seen: dict[str, ObservedLease] = {}
        self._renewed: dict[str, float] = {}
        self._writes = 0

    def tend(self, one: Candidate) -> bool:
        """Renew or take the Lease if that may be; whether it is held now."""
        now = one.monotonic()
        known = self._seen.get(one.holder)
        if known is not None and known.since > now:
            known = None  # of an earlier container
        seen = self._seen[one.holder] = observe(known, self._stored, now)
        if not seen.is_expired_for(one.holder, now):
            self._renewed.pop(one.holder, None)
            return False
        self._writes += 1
        written = acquired(self._stored, one.holder, DURATION, one.now())
        self._stored = LeaseRecord(
            written.holder,
            written.duration,
            written.acquired_at,
            written.renewed_at,
            written.transitions,
            str(self._writes),
        )
        self._renewed[one.holder] = now
        return True

    def holds(self, one: Candidate) -> bool:
        """Whether the last renewal is young enough to be relied on."""
        renewed = self._renewed.get(one.holder)
        return renewed is not None and 0 <= one.monotonic() - renewed < TRUSTED
