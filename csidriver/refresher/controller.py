"""The refresher's loop: changes and due times in, visits out, on a few worker threads."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from prometheus_client.core import Metric

from csidriver.clock import Clock
from csidriver.core.backoff import backoff, stable_jitter
from csidriver.core.kubernetes.change import SecretChange
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import MAX_IN_FLIGHT
from csidriver.core.refresh.reconcile import reconcile
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.errors import DriverError, StoreError
from csidriver.refresher.clock_jump import ClockJumpDetector
from csidriver.refresher.effect_interpreter import EffectRunner, Interpreter
from csidriver.refresher.gauges import MetricsSnapshot, gauges
from csidriver.refresher.metrics import RefresherMetrics
from csidriver.refresher.resync import Snapshot, Sources, initial_states, resync
from csidriver.refresher.state_cache import StateCache
from csidriver.refresher.worker_pool import WorkerPool
from csidriver.refresher.workqueue import WorkQueue

log = logging.getLogger(__name__)

WORKERS = 2 * MAX_IN_FLIGHT
# How many may wait for a failing backend besides: each has presented a token before it failed.
ASIDE = 256
# Seconds that outcomes of what was begun may take to be stored once nothing new is started.
GRACE = 90.0
# Seconds between two attempts of the same thing while the backend fails, at most.
RETRY_CAP = 30.0
# Seconds between two looks at the configuration, and between two visits to everything.
LOOK_EVERY = 2.0
SWEEP_EVERY = 600.0


class Controller:
    """Keeps every annotated Secret fresh until stopped. Made anew for each time it is to work.

    `sweep_every`: seconds between two looks for what no event has told of.
    """

    def __init__(
        self,
        sources: Sources,
        interpreter: Interpreter,
        rules: Callable[[], RefreshContext],
        clock: Clock,
        metrics: RefresherMetrics,
        *,
        sweep_every: float = SWEEP_EVERY,
    ) -> None:
        self._sources = sources
        self._sweep_every = sweep_every
        self._interpreter = interpreter
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._register = StateCache()
        self._shares: Mapping[str, float] = {}
        self._queue: WorkQueue[SourceRef] = WorkQueue(
            clock.now, WORKERS, lambda lane: self._shares.get(lane, WORKERS)
        )
        self._crew = WorkerPool(self._work, WORKERS, ASIDE)
        self._failures: dict[SourceRef, int] = {}
        self._started = False
        self._trouble = "Secrets have not been listed yet"

    def alive(self) -> list[str]:
        """What a restart may mend; empty while all is well."""
        return self._crew.crashed()

    def ready(self) -> list[str]:
        """What keeps Secrets from being seen; empty while all is well."""
        return [self._trouble] if self._trouble else []

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; exchanges that were begun are stored before this returns.

        Unless the backend fails for longer than the grace: then they are left to the spool.
        """
        self._metrics.look_at(self._gauges)
        self._heed(self._rules())
        self._crew.start_worker()
        watcher = threading.Thread(target=self._watch, args=(stop,), name="changes", daemon=True)
        watcher.start()
        try:
            self._housekeeping(stop)
        finally:
            self._queue.close()
            if not self._crew.join(GRACE):
                log.error("some outcomes could not be stored within %.0f s", GRACE)
            self._metrics.look_at(None)

    def _housekeeping(self, stop: threading.Event) -> None:
        """Visit everything when issuers or clock have changed, now and then for what was missed."""
        rules, swept_at, setback = (
            self._rules(),
            self._clock.monotonic(),
            ClockJumpDetector(self._clock),
        )
        while not stop.wait(LOOK_EVERY):
            now = self._clock.monotonic()
            current, due = self._rules(), now >= swept_at + self._sweep_every
            if not setback.check() and current.issuers is rules.issuers and not due:
                continue
            self._heed(current)
            if due and self._started:
                for change in resync(self._sources, self._register.versions, stop):
                    self._enqueue(change)
            rules, swept_at = current, now if due else swept_at
            for ref in self._register.refs():
                self._queue.add_at(ref, self._clock.now(), self._lane(ref))

    def _heed(self, rules: RefreshContext) -> None:
        self._shares = {name: i.in_flight for name, i in rules.issuers.by_name.items()}

    def _watch(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                for change in self._snapshot(stop):
                    failures, self._trouble = 0, ""
                    self._enqueue(change)
            except StoreError as error:
                failures += 1
                self._trouble = f"cannot watch Secrets: {error}"
                log.warning("%s", self._trouble)
            except Exception:
                failures += 1
                log.exception("watching Secrets failed")
            stop.wait(backoff(max(1, failures), 1.0, RETRY_CAP))

    def _snapshot(self, stop: threading.Event) -> Iterator[SecretChange]:
        """Learn what there is, then yield the changes."""
        changes = self._sources.watch_changes(stop)
        census = Snapshot.read(changes)
        if census is None:
            return
        if self._started:
            for found in census.diff(self._register.refs()):
                self._enqueue(found)
        else:
            self._start(census)
        self._trouble = ""
        for change in changes:
            if change is not None:
                yield change

    def _start(self, census: Snapshot) -> None:
        """Take over all tokens from lists, so that those in order cost no request of their own."""
        for known in initial_states(census, self._sources, self._rules(), self._clock):
            self._register.restore(known)
            self._follow(known)
            due = None if known.grant is None else known.grant.next_refresh
            now = self._clock.now()
            self._queue.add_at(known.ref, min(now, due or now), _lane(known))
        self._started = True

    def _enqueue(self, change: SecretChange) -> None:
        if self._register.apply_change(change):
            self._queue.add_at(change.ref, self._clock.now(), self._lane(change.ref))

    def _work(self) -> None:
        while (ref := self._queue.get()) is not None:
            if not self._queue.idle():
                self._crew.start_worker()
            if not self._reconcile(ref):
                return

    def _reconcile(self, ref: SourceRef) -> bool:
        """One visit; whether the worker is still one of the crew."""
        stays = True

        def step_aside() -> None:
            nonlocal stays
            if stays and self._crew.yield_worker():
                stays = False
                self._queue.step_aside(ref)

        again = None
        try:
            again = self._reconciled(ref, step_aside)
        finally:
            self._queue.done(ref)
        if again is not None:
            self._queue.add_at(ref, again, self._lane(ref))
        return stays

    def _reconciled(self, ref: SourceRef, step_aside: Callable[[], None]) -> float | None:
        """When to come again (epoch seconds), None if only on a change."""
        before = self._register.checkout(ref)
        performance = self._interpreter.perform(step_aside, _lane(before))
        try:
            known = performance.run(reconcile(before, self._rules()))
        except DriverError as error:
            log.warning("Secret %s: %s", ref, error)
        except Exception:
            log.exception("Secret %s: visit failed", ref)
        else:
            self._failures.pop(ref, None)
            self._compare(before, known, performance)
            return self._clock.now() if self._keep(known) else known.next_reconcile
        failures = self._failures[ref] = self._failures.get(ref, 0) + 1
        self._metrics.visit_failed()
        # What was written before the trouble is not known here: read it again.
        self._keep(replace(before, source_stale=True, grant_stale=True))
        return self._clock.now() + backoff(failures, stable_jitter(ref.id, failures), RETRY_CAP)

    def _keep(self, known: TokenState) -> bool:
        self._follow(known)
        return self._register.store(known)

    def _follow(self, known: TokenState) -> None:
        """Let other tokens know what this one is called by now."""
        if known.grant is None:
            self._interpreter.names.remove(known.ref)
        else:
            self._interpreter.names.update(
                known.ref, known.grant.adopted_at, known.grant.token_hashes
            )

    def _compare(self, before: TokenState, after: TokenState, performance: EffectRunner) -> None:
        """Count what another process has refreshed meanwhile."""
        if before.grant is None or after.grant is None or performance.tokens:
            return
        moved = after.grant.generation > before.grant.generation
        if moved and after.grant.live_hash not in after.grant.seeds:
            self._metrics.race_adopted()

    def _lane(self, ref: SourceRef) -> str:
        return _lane(self._register.peek(ref))

    def _gauges(self) -> Iterator[Metric]:
        return gauges(
            MetricsSnapshot(
                known=len(self._register),
                summary=self._register.summary(self._clock.now()),
                overdue=self._queue.overdue(),
                spooled=self._interpreter.world.spool.count(),
                loads=self._interpreter.limiter.loads(),
            )
        )


def _lane(known: TokenState) -> str:
    """A token whose issuer is not known yet shares a lane with its like."""
    return "" if known.grant is None else known.grant.issuer
