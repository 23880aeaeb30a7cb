"""The login of the demo; `test_demo.py` has a whole one."""

import threading

import pytest

from csidriver.demo.login import StoppableClock
from csidriver.errors import DriverError


def test_an_interrupt_ends_the_wait() -> None:
    stop = threading.Event()
    clock = StoppableClock(stop)
    clock.sleep(0.0)
    stop.set()
    with pytest.raises(DriverError, match="interrupted"):
        clock.sleep(60.0)
