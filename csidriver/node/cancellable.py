"""Reading from the backend within a call that may be ended."""

import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import TypeVar

from csidriver.errors import NotReady

T = TypeVar("T")

# Seconds between two checks whether the call was cancelled.
_CHECK_CANCEL_EVERY = 0.05


def run_cancellable(cancel: threading.Event, read: Callable[[], T], subject: str) -> T:
    """Return or raise the result of `read`. On `cancel` its thread runs on by itself.

    Raises:
        NotReady: `cancel` was set before the backend answered.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(read())
        except Exception as error:  # noqa: BLE001 - raised again by the waiting thread
            answer.set_exception(error)

    # A daemon: a process that stops does not wait for a backend that does not answer.
    threading.Thread(target=run, name="read", daemon=True).start()
    while not futures.wait([answer], _CHECK_CANCEL_EVERY).done:
        if cancel.is_set():
            raise NotReady(f"the call was ended while {subject} was being read")
    return answer.result()
