"""Signals that end a process, received by a thread.

A handler would run in the main thread in the middle of anything, also while that thread holds the
very lock that setting an event needs.
"""

import signal
import threading

STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def stop_on_signals(stop: threading.Event) -> None:
    """Have SIGINT, SIGTERM and SIGHUP set `stop`, from now on. Call it before starting threads.

    Processes started afterwards inherit the blocked signals; each unblocks or awaits them itself.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def wait() -> None:
        while True:
            signal.sigwait(STOP_SIGNALS)
            stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
