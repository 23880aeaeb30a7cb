import threading
import time
from collections import Counter
from collections.abc import Callable

from csidriver.refresher.queue import DueQueue

PATIENCE = 10.0  # seconds; only a defect waits for it


class Hands:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_keys_come_in_the_order_they_are_due() -> None:
    queue: DueQueue[str] = DueQueue(Hands())
    for key, at in (("c", 99.0), ("a", 1.0), ("b", 2.0), ("b2", 2.0)):
        queue.put(key, at)
    assert [queue.take() for _ in range(4)] == ["a", "b", "b2", "c"]


def test_an_earlier_instant_wins_whichever_came_first() -> None:
    hands = Hands()
    queue: DueQueue[str] = DueQueue(hands)
    for first, second in ((90.0, 500.0), (500.0, 90.0)):
        queue.put("key", first)
        queue.put("key", second)
        assert queue.take() == "key"
        queue.done("key")
        hands.at = 1000.0
        queue.put("sentinel", 1000.0)
        assert queue.take() == "sentinel", "the later instant is forgotten"
        queue.done("sentinel")
        hands.at = 100.0


def test_a_key_is_not_due_before_its_time() -> None:
    queue: DueQueue[str] = DueQueue(time.monotonic)
    at = time.monotonic() + 0.2
    queue.put("key", at)
    assert queue.take() == "key"
    assert time.monotonic() >= at


def test_a_put_wakes_whoever_waits_for_a_later_one() -> None:
    queue: DueQueue[str] = DueQueue(time.monotonic)
    queue.put("late", time.monotonic() + 3600)
    taken: list[str | None] = []
    thread = in_thread(lambda: taken.append(queue.take()))
    began = time.monotonic()
    queue.put("now", time.monotonic())
    thread.join(PATIENCE)
    assert taken == ["now"]
    assert time.monotonic() - began < 2


def test_a_key_is_with_one_worker_at_a_time_and_a_put_meanwhile_is_not_lost() -> None:
    queue: DueQueue[str] = DueQueue(Hands())
    queue.put("key", 1.0)
    assert queue.take() == "key"
    queue.put("key", 2.0)
    queue.put("other", 3.0)
    assert queue.take() == "other", "others are not held up"
    taken: list[str | None] = []
    thread = in_thread(lambda: taken.append(queue.take()))
    assert taken == []
    queue.done("key")
    thread.join(PATIENCE)
    assert taken == ["key"]


def test_workers_never_share_a_key() -> None:
    queue: DueQueue[int] = DueQueue(Hands())
    lock, held, clashes = threading.Lock(), Counter[int](), []
    left, finished = [400], threading.Event()

    def work() -> None:
        while (key := queue.take()) is not None:
            with lock:
                held[key] += 1
                if held[key] > 1:
                    clashes.append(key)
                left[0] -= 1
                over = left[0] <= 0
            queue.put(key, 1.0)  # due again while it is still in hand
            with lock:
                held[key] -= 1
            queue.done(key)
            if over:
                finished.set()

    for key in range(3):
        queue.put(key, 1.0)
    threads = [in_thread(work) for _ in range(6)]
    assert finished.wait(PATIENCE)
    queue.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert clashes == []


def test_closing_ends_every_wait_and_hands_out_nothing_more() -> None:
    queue: DueQueue[str] = DueQueue(time.monotonic)
    taken: list[str | None] = []
    threads = [in_thread(lambda: taken.append(queue.take())) for _ in range(3)]
    queue.close()
    for thread in threads:
        thread.join(2)
        assert not thread.is_alive()
    assert taken == [None] * 3
    queue.put("key", 0.0)
    assert queue.take() is None
