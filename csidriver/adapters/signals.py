"""Signals that end a process, received by a thread.

A handler would interrupt the main thread anywhere, also while that thread holds the lock that
setting an event needs.
"""

import signal
import threading

STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` at SIGINT, SIGTERM or SIGHUP. Must be called before threads are started.

    Child processes inherit the blocked signals, and must unblock or await them.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def wait() -> None:
        while True:
            signal.sigwait(STOP_SIGNALS)
            stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
