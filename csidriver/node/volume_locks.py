"""Which volumes and targets a call is working on, so that no other call touches them."""

import contextlib
import threading
from collections.abc import Iterator

from csidriver.errors import InFlight


class VolumeLocks:
    """Volumes, by `folder_name`, and targets, by their real paths, that calls have claimed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancels: dict[str, threading.Event] = {}
        self._stopping = False

    @contextlib.contextmanager
    def acquire(self, name: str) -> Iterator[threading.Event]:
        """Keep others away; the event is set when this call is to end early. Raises InFlight."""
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
        """Have the call that claims this, if there is one, end early."""
        with self._lock:
            if (cancel := self._cancels.get(name)) is not None:
                cancel.set()

    def cancel_all(self) -> None:
        """Have every call end early, also those that are yet to begin."""
        with self._lock:
            self._stopping = True
            for cancel in self._cancels.values():
                cancel.set()
