"""The refresher's loop: reconciles tokens that have changed or are due, on worker threads."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from csidriver.clock import Clock, ClockJumpDetector
from csidriver.core.backoff import backoff, stable_jitter
from csidriver.core.kubernetes.change import SecretChange
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import MAX_IN_FLIGHT
from csidriver.core.refresh.reconcile import reconcile
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.errors import DriverError, StoreError
from csidriver.refresher.effect_interpreter import EffectRunner, Interpreter
from csidriver.refresher.metrics import MetricsSnapshot, RefresherMetrics
from csidriver.refresher.resync import SecretListerWatcher, Snapshot, initial_states, resync
from csidriver.refresher.state_cache import StateCache
from csidriver.refresher.worker_pool import WorkerPool
from csidriver.refresher.workqueue import WorkQueue

log = logging.getLogger(__name__)

WORKERS = 2 * MAX_IN_FLIGHT
# Seconds after `stop` in which the outcomes of token requests under way may be stored.
DRAIN_SECONDS = 60.0
# Longest pauses in seconds between two attempts while the backend fails; for a reply, shorter.
MAX_BACKOFF, MAX_COMMIT_BACKOFF = 30.0, 5.0
# Seconds between two checks of the configuration, and between two resyncs of all tokens.
CONFIG_POLL_SECONDS = 2.0
RESYNC_SECONDS = 600.0


class Controller:
    """Keeps the tokens of all annotated Secrets fresh. Each term as leader needs a new one.

    Every `resync_seconds` it looks for changes that the watch has missed. `read_context` reads
    files, so it is called every few seconds, and not by the workers.
    """

    def __init__(
        self,
        secrets: SecretListerWatcher,
        interpreter: Interpreter,
        read_context: Callable[[], RefreshContext],
        clock: Clock,
        metrics: RefresherMetrics,
        *,
        resync_seconds: float = RESYNC_SECONDS,
    ) -> None:
        self._secrets = secrets
        self._resync_seconds = resync_seconds
        self._interpreter = interpreter
        self._read_context = read_context
        self._context = read_context()
        self._clock = clock
        self._metrics = metrics
        self._cache = StateCache(self._add_now)
        self._worker_limits: Mapping[str, float] = {}
        self._queue: WorkQueue[SourceRef] = WorkQueue(
            clock.now,
            WORKERS,
            lambda issuer: self._worker_limits.get(issuer, WORKERS),
            lambda ref: ref.namespace,
            interpreter.limiter.next_turn,
        )
        interpreter.requeue = self._add_now
        interpreter.find_login = self._cache.find_login
        self._workers = WorkerPool(self._work, WORKERS)
        self._failures: dict[SourceRef, int] = {}
        # Tokens with a reply that is not stored yet.
        self._unstored: set[SourceRef] = set()
        self._listed = False
        self._watch_problem = "Secrets have not been listed yet"

    def alive(self) -> list[str]:
        """Return the problems that a restart may solve."""
        return self._workers.crashed()

    def ready(self) -> list[str]:
        """Return the problems that keep changes of Secrets from being seen."""
        return [self._watch_problem] if self._watch_problem else []

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, and store the outcomes of the token requests under way.

        If the backend fails for longer than DRAIN_SECONDS, they stay in the spool.
        """
        self._metrics.collect_with(self._metrics_snapshot)
        self._set_worker_limits()
        self._workers.start()
        watcher = threading.Thread(target=self._watch, args=(stop,), name="changes", daemon=True)
        watcher.start()
        try:
            self._resync_until(stop)
        finally:
            self._queue.close()
            if not self._workers.join(DRAIN_SECONDS):
                log.error("some outcomes could not be stored within %.0f s", DRAIN_SECONDS)
            self._metrics.collect_with(None)

    def _resync_until(self, stop: threading.Event) -> None:
        """Reconcile all tokens at each resync, and when the issuers or the clock were changed."""
        issuers, resynced_at = self._context.issuers, self._clock.monotonic()
        clock_jump = ClockJumpDetector(self._clock)
        while not stop.wait(CONFIG_POLL_SECONDS):
            self._context, now = self._read_context(), self._clock.monotonic()
            changed = clock_jump.was_set_back() or self._context.issuers is not issuers
            resync_due = now >= resynced_at + self._resync_seconds
            if not changed and not resync_due:
                continue
            issuers = self._context.issuers
            self._set_worker_limits()
            if resync_due:
                resynced_at = now
                if self._listed:
                    for change in resync(self._secrets, self._cache.versions, stop):
                        self._enqueue(change)
            for ref in self._cache.refs():
                self._add_now(ref)

    def _set_worker_limits(self) -> None:
        issuers = self._context.issuers.by_name
        self._worker_limits = {name: issuer.in_flight for name, issuer in issuers.items()}

    def _watch(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                for change in self._changes(stop):
                    failures, self._watch_problem = 0, ""
                    self._enqueue(change)
            except StoreError as error:
                failures += 1
                self._watch_problem = f"cannot watch Secrets: {error}"
                log.warning("%s", self._watch_problem)
            except Exception:
                failures += 1
                log.exception("watching Secrets failed")
            stop.wait(backoff(max(1, failures), 1.0, MAX_BACKOFF))

    def _changes(self, stop: threading.Event) -> Iterator[SecretChange]:
        """Process what a new watch finds, then yield the changes that follow."""
        changes = self._secrets.watch_changes(stop, self._interpreter.own_writes.find)
        snapshot = Snapshot.read(changes)
        if snapshot is None:
            return
        if self._listed:
            for change in snapshot.diff(self._cache.refs()):
                self._enqueue(change)
        else:
            self._restore(snapshot)
        self._watch_problem = ""
        yield from (change for change in changes if change is not None)

    def _restore(self, snapshot: Snapshot) -> None:
        """Fill the cache from lists: a token that is up to date needs no request of its own."""
        for state in initial_states(snapshot, self._secrets, self._context, self._clock):
            self._cache.restore(state)
            self._interpreter.duplicates.track(state)
            due = None if state.grant is None else state.grant.next_refresh
            now = self._clock.now()
            self._queue.add_at(state.ref, min(now, due or now), _issuer_name(state))
        self._listed = True

    def _enqueue(self, change: SecretChange) -> None:
        if self._cache.apply_change(change):
            self._add_now(change.ref)

    def _add_now(self, ref: SourceRef) -> None:
        self._queue.add_at(ref, self._clock.now(), self._issuer(ref))

    def _work(self) -> None:
        while (ref := self._queue.get()) is not None:
            requeue_at = None
            try:
                requeue_at = self._reconcile_once(ref)
            finally:
                self._queue.done(ref)
            if requeue_at is not None:
                self._queue.add_at(ref, requeue_at, self._issuer(ref))

    def _reconcile_once(self, ref: SourceRef) -> float | None:
        """Return when to reconcile again (epoch seconds), None if only after a change."""
        before = self._cache.checkout(ref)
        runner = self._interpreter.runner(_issuer_name(before), ref)
        try:
            state = runner.run(reconcile(before, self._context))
        except DriverError as error:
            log.warning("Secret %s: %s", ref, error)
        except Exception:
            log.exception("Secret %s: reconciling failed", ref)
        else:
            self._failures.pop(ref, None)
            self._unstored.discard(ref)
            self._count_adopted(before, state, runner)
            return self._clock.now() if self._store(state) else state.next_reconcile
        failures = self._failures[ref] = self._failures.get(ref, 0) + 1
        self._metrics.failed_reconciliations.inc()
        # What was written before the failure is not known here: read it again.
        self._store(replace(before, source_stale=True, grant_stale=True))
        if runner.tokens_received:
            self._unstored.add(ref)
        cap = MAX_BACKOFF
        if ref in self._unstored:
            self._metrics.commit_retries.inc()
            cap = MAX_COMMIT_BACKOFF
        return retry_at(before, failures, cap, self._clock.now())

    def _store(self, state: TokenState) -> bool:
        self._interpreter.duplicates.track(state)
        return self._cache.store(state)

    def _count_adopted(self, before: TokenState, after: TokenState, runner: EffectRunner) -> None:
        """Count a token that another process has refreshed meanwhile."""
        if before.grant is None or after.grant is None or runner.tokens_received:
            return
        replaced = after.grant.generation > before.grant.generation
        if replaced and after.grant.adopted_at == before.grant.adopted_at:
            self._metrics.race_adopted.inc()

    def _issuer(self, ref: SourceRef) -> str:
        return _issuer_name(self._cache.peek(ref))

    def _metrics_snapshot(self) -> MetricsSnapshot:
        loads = self._interpreter.limiter.loads()
        return MetricsSnapshot(
            sources=len(self._cache),
            summary=self._cache.summary(self._clock.now()),
            overdue=self._queue.overdue(),
            spool_entries=len(self._interpreter.ports.spool.ids()),
            # An issuer that was removed must alert nobody.
            loads=[load for load in loads if load.issuer in self._worker_limits],
        )


def retry_at(before: TokenState, failures: int, cap: float, now: float) -> float:
    """Return when to reconcile again after a failure, at the latest when the status becomes a lie.

    Instants in epoch seconds, `cap` in seconds.
    """
    at = now + backoff(failures, stable_jitter(before.ref.id, failures), cap)
    due = before.status_due_at
    return at if due is None or due <= now else min(at, due)


def _issuer_name(state: TokenState) -> str:
    """Return the queue of a token; tokens whose issuer is not known yet share one."""
    return "" if state.grant is None else state.grant.issuer
