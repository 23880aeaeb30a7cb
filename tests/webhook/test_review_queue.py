import threading

from csidriver.webhook.review_queue import ReviewQueue
from tests.waiting import until

PATIENCE = 20.0


class Turn:
    """A turn that is taken in a thread of its own, and kept until it is let go."""

    def __init__(self, queue: ReviewQueue, kind: str) -> None:
        self.has_begun, self.go = threading.Event(), threading.Event()
        self._queue, self._kind = queue, kind
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        with self._queue.turn(is_heavy=self._kind == "heavy"):
            self.has_begun.set()
            assert self.go.wait(PATIENCE)

    def end(self) -> None:
        self.go.set()
        self._thread.join()


def test_a_light_one_does_not_wait_for_a_heavy_one() -> None:
    queue = ReviewQueue(PATIENCE)
    heavy = Turn(queue, "heavy")
    assert heavy.has_begun.wait(PATIENCE)
    light, other = Turn(queue, "light"), Turn(queue, "heavy")
    assert light.has_begun.wait(PATIENCE)
    light.end()
    assert not other.has_begun.wait(0.1)
    heavy.end()
    assert other.has_begun.wait(PATIENCE)
    other.end()


def test_a_heavy_one_waits_behind_every_light_one() -> None:
    queue = ReviewQueue(PATIENCE)
    light = [Turn(queue, "light") for _ in range(2)]
    until(lambda: queue._light == 2 and any(turn.has_begun.is_set() for turn in light))
    heavy = Turn(queue, "heavy")
    light.sort(key=lambda turn: not turn.has_begun.is_set())
    assert not light[1].has_begun.wait(0.1), "they take turns, too"
    light[0].end()
    assert light[1].has_begun.wait(PATIENCE)
    assert not heavy.has_begun.wait(0.1)
    light[1].end()
    assert heavy.has_begun.wait(PATIENCE)
    heavy.end()


def test_light_ones_cannot_keep_a_heavy_one_out() -> None:
    queue = ReviewQueue(0.05)
    light = Turn(queue, "light")
    assert light.has_begun.wait(PATIENCE)
    heavy = Turn(queue, "heavy")
    assert heavy.has_begun.wait(PATIENCE)
    heavy.end()
    light.end()
