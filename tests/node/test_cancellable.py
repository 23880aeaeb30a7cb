import threading

import pytest

from csidriver.errors import NotReady, StoreUnavailable
from csidriver.node.cancellable import run_cancellable


def test_the_answer_is_returned() -> None:
    assert run_cancellable(threading.Event(), lambda: 7, "it") == 7


def test_an_error_of_the_backend_is_raised() -> None:
    def read() -> int:
        raise StoreUnavailable("the test says so")

    with pytest.raises(StoreUnavailable, match="the test says so"):
        run_cancellable(threading.Event(), read, "it")


def test_a_cancelled_call_does_not_wait_for_a_backend_that_hangs() -> None:
    cancel, answered = threading.Event(), threading.Event()

    def hang() -> bool:
        cancel.set()
        return answered.wait(30)

    with pytest.raises(NotReady, match="while ConfigMap alice/shape was being read"):
        run_cancellable(cancel, hang, "ConfigMap alice/shape")
    answered.set()
