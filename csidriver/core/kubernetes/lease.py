"""Which of several refreshers may work: a lease as it is stored, and when it counts as free.

Clocks of two machines are never compared. A lease is free once it has not changed for as long as
its holder promised, on the monotonic clock of whoever looks at it.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease. `holder` "" means nobody; `version` changes with every write, "" is not stored.

    `duration` in seconds; the instants, in epoch seconds, are for people to read.
    """

    holder: str
    duration: float
    acquired_at: float = 0.0
    renewed_at: float = 0.0
    transitions: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class ObservedLease:
    """A lease as it is (None: there is none) and since when it has looked like that.

    `since` is an instant of the observer's monotonic clock, taken after the look.
    """

    record: LeaseRecord | None
    since: float

    def is_expired_for(self, holder: str, now: float) -> bool:
        """Whether `holder` may take it."""
        record = self.record
        if record is None or record.holder in {"", holder}:
            return True
        return now >= self.since + record.duration


def observe(before: ObservedLease | None, record: LeaseRecord | None, now: float) -> ObservedLease:
    """What a look at `now` makes of an earlier one: an unchanged lease keeps its age."""
    if before is not None and _version(before.record) == _version(record):
        return before
    return ObservedLease(record, now)


def acquired(stored: LeaseRecord | None, holder: str, duration: float, now: float) -> LeaseRecord:
    """What `holder` writes at `now` (epoch seconds) to take a lease, or to keep it."""
    if stored is None:
        return LeaseRecord(holder, duration, now, now)
    renewed = replace(stored, duration=duration, renewed_at=now)
    if stored.holder == holder:
        return renewed
    return replace(renewed, holder=holder, acquired_at=now, transitions=stored.transitions + 1)


def _version(record: LeaseRecord | None) -> str:
    return "" if record is None else record.version
