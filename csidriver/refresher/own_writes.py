"""The own writes of a controller, which its watches report again and nobody needs to decode."""

import contextlib
import threading
from collections.abc import Iterator

from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef

# A watch that lags by more writes reports the earlier ones like those of others.
MAX_REMEMBERED = 1024
# Seconds that a watch waits for the response to the write that it reports.
MAX_RESPONSE_WAIT = 0.05


class OwnWrites:
    """The newest writes of one controller. Thread-safe.

    Not of the process: what a worker of an earlier term still writes is news to this one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._writing: set[str] = set()
        self._refs: dict[tuple[str, str], SourceRef] = {}

    @contextlib.contextmanager
    def writing(self, uid: str) -> Iterator[None]:
        """Say that an object is being written, of which the watch may report sooner."""
        with self._changed:
            self._writing.add(uid)
        try:
            yield
        finally:
            with self._changed:
                self._writing.discard(uid)
                self._changed.notify_all()

    def add(self, ref: SourceRef, written: Secret) -> None:
        with self._changed:
            self._refs[written.uid, written.resource_version] = ref
            if len(self._refs) > MAX_REMEMBERED:
                del self._refs[next(iter(self._refs))]

    def find(self, uid: str, resource_version: str) -> SourceRef | None:
        """Return the token to which an object of this version belongs, None if another wrote it.

        While it is being written, wait for the response for a moment.
        """
        with self._changed:
            self._changed.wait_for(lambda: uid not in self._writing, MAX_RESPONSE_WAIT)
            return self._refs.get((uid, resource_version))
