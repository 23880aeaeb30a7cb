"""The order in which reviews are answered: heavy ones wait behind light ones."""

import contextlib
import threading
from collections.abc import Iterator


class ReviewQueue:
    """Gives turns to one light review at a time and, beside it, to one heavy one.

    Not to more: parsed JSON is large, and Python would not be faster. A heavy review begins when
    no light one waits, or after `max_delay` seconds, so that light ones cannot keep it out.
    """

    def __init__(self, max_delay: float) -> None:
        self._max_delay = max_delay
        self._turns = {is_heavy: threading.Lock() for is_heavy in (False, True)}
        self._light = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def turn(self, *, is_heavy: bool) -> Iterator[None]:
        self._count(not is_heavy)
        try:
            with self._turns[is_heavy]:
                with self._changed:
                    self._changed.wait_for(lambda: not (is_heavy and self._light), self._max_delay)
                yield
        finally:
            self._count(-(not is_heavy))

    def _count(self, more: int) -> None:
        with self._changed:
            self._light += more
            self._changed.notify_all()
