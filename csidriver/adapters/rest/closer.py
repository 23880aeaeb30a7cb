"""Ends watches that are blocked in a read when their stop event is set.

An Event cannot be waited for together with a socket, nor with other Events: one thread looks at
all of them, and only while there is a watch.
"""

import contextlib
import threading
from collections.abc import Iterator

from csidriver.adapters.rest.line import Line


class Closer:
    """Cuts lines, at most `poll` seconds after their stop event was set."""

    def __init__(self, poll: float) -> None:
        self._poll = poll
        self._lock = threading.Condition()
        self._held: dict[Line, threading.Event] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def minding(self, line: Line, stop: threading.Event) -> Iterator[None]:
        """While inside, the line is cut when `stop` is set."""
        with self._lock:
            self._held[line] = stop
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rest-closer", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._held[line]
                if not self._held:
                    self._lock.notify_all()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._held:
                    self._lock.wait(self._poll)
                if not self._held:
                    self._thread = None
                    return
                stopped = [line for line, stop in self._held.items() if stop.is_set()]
            for line in stopped:
                line.cut()
