"""Leader election: one refresher works, the others stand by.

Safety does not depend on it: the intents of the protocol exclude double use. Leader election only
keeps replicas from waiting for each other's intents.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from csidriver.clock import Clock, WaitingClock
from csidriver.config import LeaseTimings
from csidriver.core.kubernetes.lease import LeaseRecord, ObservedLease, acquired, observe
from csidriver.errors import StoreConflict, StoreError

log = logging.getLogger(__name__)


class LeaderLock(Protocol):
    """A lock that one refresher can have at a time; every method raises StoreError."""

    def acquire(self) -> bool:
        """Take or renew the lock; return False if another process has it."""

    def release(self) -> None:
        """Free the lock at once, if this process has it."""


class LeaseStore(Protocol):
    """The store of the Lease object; every method raises StoreError."""

    def read(self) -> LeaseRecord | None:
        """Return the Lease, None if it does not exist."""

    def write(self, record: LeaseRecord) -> LeaseRecord:
        """Write a record at its version, "" to create it; raise StoreConflict if it has changed."""


class LeaseLock:
    """A leader lock in a Lease object. Not for several threads.

    `holder` names this process; no other process may ever use the same name.
    """

    def __init__(
        self, records: LeaseStore, holder: str, timings: LeaseTimings, clock: Clock
    ) -> None:
        self._records = records
        self._holder = holder
        self._timings = timings
        self._clock = clock
        self._held: LeaseRecord | None = None
        self._observed: ObservedLease | None = None

    def acquire(self) -> bool:
        """Take or renew the Lease; return False while another process holds it."""
        if self._held is not None:
            try:
                self._held = self._write_record(self._held)
            except StoreConflict:
                self._held = None
            else:
                return True
        stored = self._records.read()
        now = self._clock.monotonic()
        self._observed = observe(self._observed, stored, now)
        if not self._observed.is_expired_for(self._holder, now):
            return False
        try:
            self._held = self._write_record(stored)
        except StoreConflict:
            return False
        return True

    def release(self) -> None:
        """Clear the holder, unless another process has taken the Lease."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            self._records.write(replace(held, holder="", renewed_at=self._clock.now()))
        except StoreConflict:
            stored = self._records.read()
            if stored is not None and stored.holder == self._holder:
                self._records.write(replace(stored, holder="", renewed_at=self._clock.now()))

    def _write_record(self, stored: LeaseRecord | None) -> LeaseRecord:
        now = self._clock.now()
        return self._records.write(acquired(stored, self._holder, self._timings.duration, now))


class LeaderElector:
    """Runs work while this process is the leader; `on_change` is called at its begin and end."""

    def __init__(
        self,
        lock: LeaderLock,
        timings: LeaseTimings,
        clock: WaitingClock,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._lock = lock
        self._timings = timings
        self._clock = clock
        self._on_change = on_change
        self._leader_until = float("-inf")
        self._problem = ""

    def is_leader(self) -> bool:
        """Return True while this process may start something new."""
        return self._clock.monotonic() < self._leader_until

    def ready(self) -> list[str]:
        """Return the problems that keep this process from taking part in the election."""
        return [self._problem] if self._problem else []

    def run(
        self,
        stop: threading.Event,
        work: Callable[[threading.Event], None],
        stand_by: Callable[[], None] = lambda: None,
    ) -> None:
        """Take part in the election until `stop` is set; call `work` each time as the leader.

        Call `stand_by` at each try to become the leader that finds another one.
        `work` must start nothing new once its event is set: leadership is lost, or `stop` is set.
        It may finish what it has started; the lock is not taken again before it returns.
        """
        while not stop.is_set():
            if self._acquire():
                log.info("became the leader")
                self._lead(stop, work)
            else:
                if not self._problem:
                    stand_by()
                self._clock.wait(stop, self._timings.retry_period)

    def _lead(self, stop: threading.Event, work: Callable[[threading.Event], None]) -> None:
        stop_work, done = threading.Event(), threading.Event()
        renewer = threading.Thread(
            target=self._hold_leadership, args=(stop, stop_work, done), name="leader election"
        )
        self._on_change(True)
        renewer.start()
        try:
            work(stop_work)
        finally:
            done.set()
            renewer.join()

    def _hold_leadership(
        self, stop: threading.Event, stop_work: threading.Event, done: threading.Event
    ) -> None:
        try:
            self._renew(stop, done)
        finally:
            self._leader_until = float("-inf")
            self._on_change(False)
            stop_work.set()
            self._release()

    def _renew(self, stop: threading.Event, done: threading.Event) -> None:
        """Renew the lock until it is lost, or no longer needed."""
        renewed_at = self._clock.monotonic()
        while not self._clock.wait(stop, self._timings.retry_period) and not done.is_set():
            if self._clock.monotonic() < renewed_at + self._timings.renew:
                continue
            if self._acquire():
                renewed_at = self._clock.monotonic()
            elif not self.is_leader():
                log.warning(
                    "lost leadership; requests under way are finished, no new ones are started"
                )
                return

    def _acquire(self) -> bool:
        """Return True if this process has the lock; a failure leaves `_leader_until` as it is."""
        sent_at = self._clock.monotonic()
        try:
            leading = self._lock.acquire()
        except StoreError as error:
            if not self._problem:
                log.warning("cannot renew leadership: %s", error)
            self._problem = f"cannot renew leadership: {error}"
            return False
        self._problem = ""
        self._leader_until = sent_at + self._timings.renew_deadline if leading else float("-inf")
        return leading

    def _release(self) -> None:
        try:
            self._lock.release()
        except StoreError as error:
            log.warning("cannot give up leadership, it will expire: %s", error)
