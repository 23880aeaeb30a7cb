import threading
import time

from csidriver.adapters.clock import SystemClock


def test_times_are_those_of_the_machine() -> None:
    clock = SystemClock()
    before = time.time(), time.monotonic()
    assert before[0] <= clock.now() <= time.time()
    assert before[1] <= clock.monotonic() <= time.monotonic()


def test_a_wait_says_whether_its_event_is_set() -> None:
    clock, event = SystemClock(), threading.Event()
    assert not clock.wait(event, 0.001)
    assert not clock.wait(event, -1.0)
    event.set()
    assert clock.wait(event, 60.0)
