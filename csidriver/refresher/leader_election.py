"""One refresher works, the others stand by: taking, keeping and giving up the one seat there is.

Safety does not rest on it, the intents of the protocol fence. It keeps replicas from waiting for
each other's intents all the time.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from csidriver.clock import WaitingClock
from csidriver.config import LeaseTimings
from csidriver.core.kubernetes.lease import LeaseRecord, ObservedLease, acquired, observe
from csidriver.errors import StoreConflict, StoreError

log = logging.getLogger(__name__)


class LeaderLock(Protocol):
    """What only one refresher can have; every method raises StoreError."""

    def acquire(self) -> bool:
        """Take it, or renew it; False if somebody else has it."""

    def release(self) -> None:
        """Give it up, so that another one can have it at once; fine if it is not ours."""


class LeaseStore(Protocol):
    """Where a lease is stored; every method raises StoreError."""

    def read(self) -> LeaseRecord | None:
        """The lease, None if there is none."""

    def write(self, record: LeaseRecord) -> LeaseRecord:
        """Store it at its version, "" to create it; StoreConflict if it has moved."""


class LeaseLock:
    """The seat as a stored lease; `holder` names this process and outlives it by nobody else's use.

    Not shared between threads.
    """

    def __init__(
        self, records: LeaseStore, holder: str, timings: LeaseTimings, clock: WaitingClock
    ) -> None:
        self._records = records
        self._holder = holder
        self._timings = timings
        self._clock = clock
        self._held: LeaseRecord | None = None
        self._observed: ObservedLease | None = None

    def acquire(self) -> bool:
        """Take or renew the lease; False while it is somebody else's."""
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
        """Clear the holder, unless somebody else wrote since."""
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
    """Runs work while this process has the seat; `told` hears when that begins and ends."""

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
        """Whether this process may start something new."""
        return self._clock.monotonic() < self._leader_until

    def ready(self) -> list[str]:
        """What keeps this process from working or standing by; empty while all is well."""
        return [self._problem] if self._problem else []

    def run(self, stop: threading.Event, work: Callable[[threading.Event], None]) -> None:
        """Stand by, and call `work` each time the seat is ours, until `stop` is set.

        The event that `work` gets is set when it is to start nothing new: the seat is lost, or
        given up because of `stop`. What it has begun it may finish; the next turn waits for it.
        """
        while not stop.is_set():
            if self._acquire():
                log.info("holding the lease")
                self._lead(stop, work)
            else:
                self._clock.wait(stop, self._timings.retry_period)

    def _lead(self, stop: threading.Event, work: Callable[[threading.Event], None]) -> None:
        stop_work, done = threading.Event(), threading.Event()
        renewer = threading.Thread(
            target=self._renew_until_lost, args=(stop, stop_work, done), name="lease"
        )
        self._on_change(True)
        renewer.start()
        try:
            work(stop_work)
        finally:
            done.set()
            renewer.join()

    def _renew_until_lost(
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
        """Renew again and again, until the seat is lost, or nobody needs it any more."""
        renewed_at = self._clock.monotonic()
        while not self._clock.wait(stop, self._timings.retry_period) and not done.is_set():
            if self._clock.monotonic() < renewed_at + self._timings.renew:
                continue
            if self._acquire():
                renewed_at = self._clock.monotonic()
            elif not self.is_leader():
                log.warning("lost the lease; what was begun is finished, nothing new is started")
                return

    def _acquire(self) -> bool:
        """Whether the seat is ours now; when it cannot be told, what was known stays."""
        sent_at = self._clock.monotonic()
        try:
            acquired = self._lock.acquire()
        except StoreError as error:
            if not self._problem:
                log.warning("cannot renew the lease: %s", error)
            self._problem = f"cannot renew the lease: {error}"
            return False
        self._problem = ""
        self._leader_until = sent_at + self._timings.renew_deadline if acquired else float("-inf")
        return acquired

    def _release(self) -> None:
        try:
            self._lock.release()
        except StoreError as error:
            log.warning("cannot give up the lease, it will expire: %s", error)
