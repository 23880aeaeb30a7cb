"""Locks on volumes and targets, so that two calls never work on the same one."""

import contextlib
import threading
from collections.abc import Iterator

from csidriver.errors import InFlight


class VolumeLocks:
    """Locks by name: a volume's `folder_name`, or a target's path without symlinks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancels: dict[str, threading.Event] = {}
        self._stopping = False

    @contextlib.contextmanager
    def acquire(self, name: str) -> Iterator[threading.Event]:
        """Lock a name, or raise InFlight. The event is set when the call should end early."""
        cancel = threading.Event()
        with self._lock:
            if name in self._cancels:
                raise InFlight("another call for this volume is running")
            if self._stopping:
                cancel.set()
            self._cancels[name] = cancel
        try:
            yield cancel
        finally:
            with self._lock:
                del self._cancels[name]

    def cancel(self, name: str) -> None:
        """Ask the call that holds this lock, if there is one, to end early."""
        with self._lock:
            if (cancel := self._cancels.get(name)) is not None:
                cancel.set()

    def cancel_all(self) -> None:
        """Ask every call to end early, now and from now on."""
        with self._lock:
            self._stopping = True
            for cancel in self._cancels.values():
                cancel.set()
