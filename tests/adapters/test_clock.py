import threading

from csidriver.adapters.clock import SystemClock


def test_a_wait_says_whether_its_event_is_set() -> None:
    clock, event = SystemClock(), threading.Event()
    assert not clock.wait(event, 0.001)
    assert not clock.wait(event, -1.0)
    event.set()
    assert clock.wait(event, 60.0)
