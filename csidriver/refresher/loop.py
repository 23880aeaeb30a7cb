"""The refresher's loop: changes and due times in, visits out, on a few worker threads."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from csidriver.core.contract import GRANT_TYPE, SOURCE_NAME, SOURCE_NAMESPACE, Ref
from csidriver.core.known import Known, Rules
from csidriver.core.refresh import visit
from csidriver.core.schedule import backoff, spread
from csidriver.core.secret import Secret
from csidriver.core.store import SourceChange
from csidriver.errors import DriverError, StoreError
from csidriver.refresher.interpreter import Clock, Interpreter
from csidriver.refresher.metrics import RefresherMetrics
from csidriver.refresher.queue import DueQueue

log = logging.getLogger(__name__)

WORKERS = 8
# Seconds between two attempts of the same thing while the backend fails, at most.
RETRY_CAP = 30.0
# Seconds between two looks at the configuration, and between two visits to everything.
LOOK_EVERY = 2.0
SWEEP_EVERY = 600.0


class Sources(Protocol):
    """Where annotated Secrets and grants are found; raises StoreError."""

    def watch_sources(self, stop: threading.Event) -> Iterator[SourceChange]:
        """All annotated Secrets, then their changes; ends when `stop` is set."""

    def list_secrets(self, namespace: str, type: str) -> list[Secret]:  # noqa: A002 - the field's name
        """All Secrets of one type in a namespace."""


class Refresher:
    """Keeps every annotated Secret fresh until stopped."""

    def __init__(
        self,
        sources: Sources,
        interpreter: Interpreter,
        rules: Callable[[], Rules],
        clock: Clock,
        metrics: RefresherMetrics,
    ) -> None:
        self._sources = sources
        self._interpreter = interpreter
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._queue: DueQueue[Ref] = DueQueue(clock.now)
        self._lock = threading.Lock()
        self._known: dict[Ref, Known] = {}
        self._announced: dict[Ref, str] = {}
        self._failures: dict[Ref, int] = {}
        self._workers: list[threading.Thread] = []
        self._trouble = "Secrets have not been listed yet"

    def alive(self) -> list[str]:
        """What a restart may mend; empty while all is well."""
        return [f"thread {w.name} has ended" for w in self._workers if not w.is_alive()]

    def ready(self) -> list[str]:
        """What keeps Secrets from being seen; empty while all is well."""
        return [self._trouble] if self._trouble else []

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; exchanges that were begun are stored before this returns."""
        self._workers = [
            threading.Thread(target=self._work, name=f"refresh-{number}")
            for number in range(WORKERS)
        ]
        for worker in self._workers:
            worker.start()
        watcher = threading.Thread(target=self._watch, args=(stop,), name="sources", daemon=True)
        watcher.start()
        try:
            self._look_after(stop)
        finally:
            self._queue.close()
            for worker in self._workers:
                worker.join()

    def _look_after(self, stop: threading.Event) -> None:
        """Visit everything when the issuers have changed, and now and then for what was missed."""
        rules, swept_at = self._rules(), self._clock.monotonic()
        while not stop.wait(LOOK_EVERY):
            now = self._clock.monotonic()
            current = self._rules()
            if current.issuers is rules.issuers and now < swept_at + SWEEP_EVERY:
                continue
            sweeping = now >= swept_at + SWEEP_EVERY
            rules, swept_at = current, now
            with self._lock:
                known = list(self._known)
            for ref in known:
                if sweeping:
                    self._changed(SourceChange(ref, ""))
                else:
                    self._queue.put(ref, self._clock.now())

    def _watch(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self._enqueue_grants()
                self._trouble = ""
                for change in self._sources.watch_sources(stop):
                    failures = 0
                    self._changed(change)
            except StoreError as error:
                failures += 1
                self._trouble = f"cannot watch Secrets: {error}"
                log.warning("%s", self._trouble)
            except Exception:
                failures += 1
                log.exception("watching Secrets failed")
            stop.wait(backoff(max(1, failures), 1.0, RETRY_CAP))

    def _enqueue_grants(self) -> None:
        """Visit every grant: its source may have gone while nobody watched."""
        for secret in self._sources.list_secrets(self._rules().driver_namespace, GRANT_TYPE):
            notes = secret.annotations
            if SOURCE_NAMESPACE in notes and SOURCE_NAME in notes:
                # As if it had gone: a watch that starts anew tells of those that exist, only.
                self._changed(SourceChange(Ref(notes[SOURCE_NAMESPACE], notes[SOURCE_NAME]), ""))

    def _changed(self, change: SourceChange) -> None:
        with self._lock:
            self._announced[change.ref] = change.resource_version
        self._queue.put(change.ref, self._clock.now())

    def _work(self) -> None:
        while (ref := self._queue.take()) is not None:
            try:
                again = self._visit(ref)
            finally:
                self._queue.done(ref)
            if again is not None:
                self._queue.put(ref, again)

    def _visit(self, ref: Ref) -> float | None:
        """One visit; returns when to come again (epoch seconds), None if only on a change."""
        known = self._before(ref)
        try:
            known = self._interpreter.run(visit(known, self._rules()))
        except DriverError as error:
            log.warning("Secret %s: %s", ref, error)
        except Exception:
            log.exception("Secret %s: visit failed", ref)
        else:
            self._keep(known)
            self._failures.pop(ref, None)
            return known.next_visit
        failures = self._failures[ref] = self._failures.get(ref, 0) + 1
        self._metrics.visit_failed()
        # What was written before the trouble is not known here: read it again.
        self._keep(replace(known, source_stale=True, custody_stale=True))
        return self._clock.now() + backoff(failures, spread(ref.id, failures), RETRY_CAP)

    def _before(self, ref: Ref) -> Known:
        """What is known, marked stale if a version was announced that has not been seen."""
        with self._lock:
            known = self._known.get(ref, Known(ref))
            announced = self._announced.pop(ref, None)
        # Our own writes are announced too, and have been seen.
        seen = "" if known.source is None else known.source.resource_version
        return known if announced in (None, seen) else replace(known, source_stale=True)

    def _keep(self, known: Known) -> None:
        with self._lock:
            if known.source is None and known.grant is None and known.next_visit is None:
                self._known.pop(known.ref, None)
            else:
                self._known[known.ref] = known
            self._metrics.sources(len(self._known))
