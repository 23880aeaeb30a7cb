"""Leases: the record that elects one of several refreshers, and when it has expired.

Clocks of two machines are never compared. A lease has expired when it has not changed for its
`duration`, on the monotonic clock of the process that observes it.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease. `holder` is "" after a release; `version` changes with every write.

    `duration` is in seconds. The instants, in epoch seconds, are information for people.
    """

    holder: str
    duration: float
    acquired_at: float = 0.0
    renewed_at: float = 0.0
    transitions: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class ObservedLease:
    """A lease (None if absent) and the instant since which the observer knows this version.

    `since` is an instant of the observer's monotonic clock, taken after the read.
    """

    record: LeaseRecord | None
    since: float

    def is_expired_for(self, holder: str, now: float) -> bool:
        if self.record is None or self.record.holder in {"", holder}:
            return True
        return now >= self.since + self.record.duration


def observe(before: ObservedLease | None, record: LeaseRecord | None, now: float) -> ObservedLease:
    """Return the observation after a read at `now`: an unchanged lease keeps its `since`."""
    if before is not None and _version(before.record) == _version(record):
        return before
    return ObservedLease(record, now)


def acquired(stored: LeaseRecord | None, holder: str, duration: float, now: float) -> LeaseRecord:
    """Return the record that `holder` writes at `now` (epoch seconds) to acquire or renew."""
    if stored is None:
        return LeaseRecord(holder, duration, now, now)
    renewed = replace(stored, duration=duration, renewed_at=now)
    if stored.holder == holder:
        return renewed
    return replace(renewed, holder=holder, acquired_at=now, transitions=stored.transitions + 1)


def _version(record: LeaseRecord | None) -> str:
    return "" if record is None else record.version
