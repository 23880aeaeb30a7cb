"""The refresher role: a controller that runs while this process is the leader and has the spool."""

import logging
import threading
import time
from collections.abc import Callable

from csidriver.core.refresh.reconcile import recover_spooled
from csidriver.core.refresh.state import RefreshContext
from csidriver.errors import DriverError
from csidriver.refresher.controller import Controller
from csidriver.refresher.effect_interpreter import Interpreter
from csidriver.refresher.issuers_publisher import IssuersPublisher
from csidriver.refresher.leader_election import LeaderElector
from csidriver.refresher.ports import Ports
from csidriver.refresher.spool import SpoolLock

log = logging.getLogger(__name__)

# Seconds between two tries to lock a spool that another process works with.
LOCK_SPOOL_EVERY = 0.5
# Seconds after a stop, and after the controller's end, in which late replies are stored.
LATE_SECONDS = 30.0


class Refresher:
    """Runs a new controller for each term as leader: another process worked in between."""

    def __init__(
        self,
        elector: LeaderElector,
        spool_lock: SpoolLock,
        ports: Ports,
        context: Callable[[], RefreshContext],
        new_controller: Callable[[], Controller],
    ) -> None:
        self._elector = elector
        self._spool_lock = spool_lock
        self._ports = ports
        self._context = context
        self._new_controller = new_controller
        self._publisher = IssuersPublisher(ports, context)
        self._controller: Controller | None = None
        self._spool_problems: list[str] = []

    def run(self, stop: threading.Event) -> None:
        """Take part in leader election until `stop` is set, then store late replies."""
        self._elector.run(stop, self._lead, self._stand_by)
        deadline = time.monotonic() + LATE_SECONDS
        while not self._ports.late_replies.join(1.0) and time.monotonic() < deadline:
            self._stand_by()
        self._stand_by()

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
        publish = self._publisher.run
        threading.Thread(target=publish, args=(stop,), name="issuers", daemon=True).start()
        try:
            controller = self._controller = self._new_controller()
            controller.run(stop)
        finally:
            self._controller = None
            self._spool_lock.release()

    def _stand_by(self) -> None:
        """Store the replies in the spool, if no other process works with it; send nothing."""
        token_ids = self._ports.spool.ids() | self._ports.late_replies.ids()
        if not token_ids or not self._spool_lock.acquire():
            return
        interpreter, context = Interpreter(self._ports), self._context()
        for token_id in token_ids:
            try:
                interpreter.run(recover_spooled(f"grant-{token_id}", context))
            except DriverError as error:
                log.warning("cannot store the reply of grant-%s: %s", token_id, error)
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
