import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from csidriver.refresher.workqueue import MAX_WAIT, WorkQueue

PATIENCE = 10.0  # seconds; only a defect waits for it
SOON = MAX_WAIT - 1.0  # seconds; who is not woken waits for longer


def at_100() -> float:
    return 100.0


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_key_is_with_one_worker_at_a_time_and_a_put_meanwhile_is_not_lost() -> None:
    queue: WorkQueue[str] = WorkQueue(at_100)
    queue.add_at("key", 1.0)
    assert queue.get() == "key"
    queue.add_at("key", 2.0)
    queue.add_at("other", 3.0)
    assert queue.get() == "other", "others are not held up"
    taken: list[str | None] = []
    thread = in_thread(lambda: taken.append(queue.get()))
    assert taken == []
    queue.done("key")
    thread.join(PATIENCE)
    assert taken == ["key"]


def taken(queue: WorkQueue[str], most: int) -> list[str]:
    """What so many workers get without waiting."""
    found = []
    for _ in range(most):
        queue.add_at("sentinel", 1e6, "sentinel")
        key, _ = queue._pop()
        if key is None:
            break
        found.append(key)
    return found


def test_lanes_take_turns_each_with_its_earliest() -> None:
    queue: WorkQueue[str] = WorkQueue(at_100)
    for number in range(100):
        queue.add_at(f"a{number:02}", 1.0 + number / 1000, "a")
    for key, at in (("b1", 50.0), ("b0", 40.0)):
        queue.add_at(key, at, "b")
    queue.add_at("c0", 99.0, "c")
    assert [queue.get() for _ in range(7)] == ["a00", "b0", "c0", "a01", "b1", "a02", "a03"]


def test_a_lane_gets_its_share_of_workers_and_no_more() -> None:
    queue: WorkQueue[str] = WorkQueue(at_100, 32, lambda lane: {"a": 3}.get(lane, 16))
    for number in range(50):
        queue.add_at(f"a{number}", 1.0, "a")
        queue.add_at(f"b{number}", 1.0, "b")
    found = taken(queue, 32)
    assert Counter(key[0] for key in found) == {"a": 3, "b": 15}
    queue.done("a0")
    assert taken(queue, 32)[0] == "a3"


def test_dead_lanes_never_hold_the_last_half_of_the_free_workers() -> None:
    queue: WorkQueue[str] = WorkQueue(at_100, 32)
    shares = []
    for lane in "abcde":
        for number in range(40):
            queue.add_at(f"{lane}{number}", 1.0, lane)
        shares.append(len(taken(queue, 40)))
    assert shares == [16, 8, 4, 2, 1]
    queue.add_at("other", 1.0, "other")
    assert taken(queue, 1) == ["other"], "there is always one left for another one"


def test_a_key_whose_turn_it_is_does_not_wait_for_its_time() -> None:
    turns: list[str] = []
    queue: WorkQueue[str] = WorkQueue(
        at_100, 2, lambda _: 1, next_turn=lambda _: (turns.pop(0), 0.0) if turns else (None, 7.0)
    )
    queue.add_at("running", 99.0, "a")
    queue.add_at("later", 500.0, "a")
    assert queue.get() == "running"
    turns += ["later", "running", "unknown"]
    assert queue._pop() == (None, math.inf), "without a free worker it is nobody's turn"
    queue.add_at("running", 600.0, "a")
    queue.done("running")
    for key in ("later", "running", "unknown"):
        assert queue._pop() == (key, 0.0)
        queue.done(key)
    queue.add_at("later", 500.0, "a")
    assert queue._pop() == (None, 7.0)


def test_how_late_the_queue_is() -> None:
    queue: WorkQueue[str] = WorkQueue(at_100)
    assert queue.overdue() == (0, 0.0)
    for key, at in (("a", 70.0), ("b", 90.0), ("c", 100.5)):
        queue.add_at(key, at)
    assert queue.overdue() == (2, 30.0)
    queue.get()
    assert queue.overdue() == (1, 10.0)


def test_replaced_entries_do_not_pile_up() -> None:
    queue: WorkQueue[int] = WorkQueue(at_100)
    for at in range(10_000, 0, -1):
        queue.add_at(at % 7, float(at), "ab"[at % 2])
    assert sum(len(lane.heap) for lane in queue._queues.values()) < 200


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 6), st.integers(0, 5), st.sampled_from("ab")),
            st.tuples(st.just("take")),
            st.tuples(st.just("done"), st.integers(0, 10)),
            st.tuples(st.just("later"), st.integers(1, 3)),
        ),
        max_size=60,
    )
)
def test_no_key_is_lost_handed_out_twice_or_early(steps: list[tuple[Any, ...]]) -> None:
    now = 0.0
    queue: WorkQueue[int] = WorkQueue(lambda: now, 4)
    due: dict[int, float] = {}
    held: list[int] = []
    for kind, *rest in steps:
        if kind == "put":
            queue.add_at(rest[0], now + rest[1], rest[2])
            due[rest[0]] = min(due.get(rest[0], 1e9), now + rest[1])
        elif kind == "take":
            key, _ = queue._pop()
            if key is not None:
                assert key not in held
                assert due.pop(key) <= now
                held.append(key)
        elif kind == "later":
            now += rest[0]
        elif held:
            queue.done(held.pop(rest[0] % len(held)))
    now += 100.0
    for key in held:
        queue.done(key)
    last = []
    while (key := queue._pop()[0]) is not None:
        last.append(key)
        queue.done(key)
    assert sorted(last) == sorted(due)


def test_one_worker_waits_for_the_clock_and_the_others_sleep_until_the_end() -> None:
    queue: WorkQueue[int] = WorkQueue(time.monotonic)
    order: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        while (key := queue.get()) is not None:
            with lock:
                order.append(key)
            queue.done(key)

    threads = [in_thread(work) for _ in range(8)]
    began = time.monotonic()
    for number in range(50):
        queue.add_at(number, began + 0.1 + number / 500)
    deadline = began + PATIENCE
    while len(order) < 50 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert sorted(order) == list(range(50))
    assert time.monotonic() - began < SOON
    queue.close()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()
    queue.add_at(7, 0.0)
    assert queue.get() is None


def test_a_key_whose_turn_it_is_comes_before_other_work_of_its_namespace() -> None:
    turns: list[str] = []
    queue: WorkQueue[str] = WorkQueue(
        at_100, next_turn=lambda _: (turns.pop(), 0.0) if turns else (None, 7.0)
    )
    for number in range(3):
        queue.add_at(f"edited-{number}", 1.0, "a")
    queue.add_at("sends", 500.0, "a")
    assert queue.get() == "edited-0"
    turns.append("sends")
    assert [queue.get() for _ in range(3)] == ["sends", "edited-1", "edited-2"]
