import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, threading
from csidriver.adapters.signals import stop_on_signals
stop = threading.Event()
stop_on_signals(stop)
print("ready", flush=True)
with stop._cond:  # held as `set` needs it: a handler in this thread would wait for ever
    sys.stdin.readline()
assert stop.wait(10)
print("stopped", flush=True)
sys.stdin.readline()
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sets_the_event_whatever_the_main_thread_holds(number: signal.Signals) -> None:
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "stopped\n"
        process.send_signal(number)  # a second one is no harsher
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ended\n"
        assert process.wait(10) == 0
