"""The refresher role: a controller that runs while this process is the leader and has the spool."""

import logging
import threading
from collections.abc import Callable

from csidriver.refresher.controller import Controller
from csidriver.refresher.leader_election import LeaderElector
from csidriver.refresher.spool_lock import SpoolLock

log = logging.getLogger(__name__)

# Seconds between two tries to lock a spool that another process works with.
LOCK_SPOOL_EVERY = 0.5


class Refresher:
    """Runs a new controller for each term as leader: another process worked in between."""

    def __init__(
        self,
        elector: LeaderElector,
        spool_lock: SpoolLock,
        new_controller: Callable[[], Controller],
    ) -> None:
        self._elector = elector
        self._spool_lock = spool_lock
        self._new_controller = new_controller
        self._controller: Controller | None = None
        self._spool_problems: list[str] = []

    def run(self, stop: threading.Event) -> None:
        """Take part in leader election until `stop` is set."""
        self._elector.run(stop, self._lead)

    def alive(self) -> list[str]:
        """Return problems that a restart may solve."""
        controller = self._controller
        return [] if controller is None else controller.alive()

    def ready(self) -> list[str]:
        """Return problems that keep this process from working, or from standing by."""
        controller = self._controller
        problems = [] if controller is None else controller.ready()
        return [*self._elector.ready(), *self._spool_problems, *problems]

    def _lead(self, stop: threading.Event) -> None:
        if not self._lock_spool(stop):
            return
        try:
            controller = self._controller = self._new_controller()
            controller.run(stop)
        finally:
            self._controller = None
            self._spool_lock.release()

    def _lock_spool(self, stop: threading.Event) -> bool:
        while not self._spool_lock.acquire():
            if not self._spool_problems:
                self._spool_problems = ["another refresher works with this --spool-dir"]
                log.warning("%s; waiting for it", self._spool_problems[0])
            if stop.wait(LOCK_SPOOL_EVERY):
                return False
        self._spool_problems = []
        return True
