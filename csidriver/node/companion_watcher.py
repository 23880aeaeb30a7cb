"""Watches companions: one watch per source, shared by all volumes of the source on the node.

The companion that was seen last stays in memory for times without the backend.
"""

import logging
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from csidriver.clock import Clock
from csidriver.core.backoff import backoff, stable_jitter
from csidriver.core.companion import parse_for_node
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.volume.readiness import ObservedCompanion
from csidriver.errors import InvalidSecret, LimitReached, StoreError
from csidriver.node.metrics import NodeMetrics

log = logging.getLogger(__name__)

# Longest pause between two attempts to watch, in seconds, while the backend refuses or is down.
MAX_RECONNECT_PAUSE = 30.0
_PAUSE = partial(backoff, cap=MAX_RECONNECT_PAUSE)
# A watch that ends sooner without news counts as failed; client-go has the same limit.
MIN_WATCH_SECONDS = 1.0
# Descriptors of one watch: its connection, and a duplicate by which another thread ends it. The
# others are for kubelet's calls, probes, and token files.
DESCRIPTORS, OTHER_DESCRIPTORS = 2, 256


class Companions(Protocol):
    """The backend's companions."""

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        """Yield a Secret, or None if it is absent, now and after each change; raise StoreError."""


@dataclass(slots=True)
class _WatchedSource:
    observed: ObservedCompanion = field(default_factory=ObservedCompanion)
    volumes: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)


class CompanionWatcher:
    """Owns the watches. From their threads it calls `on_change` with the volumes to rewrite.

    `pause` returns the seconds to wait after so many failures and with so much jitter.
    """

    def __init__(
        self,
        companions: Companions,
        namespace: str,
        on_change: Callable[[frozenset[str]], None],
        clock: Clock,
        metrics: NodeMetrics,
        *,
        pause: Callable[[int, float], float] = _PAUSE,
    ) -> None:
        self._companions = companions
        self._namespace = namespace
        self._on_change = on_change
        self._clock = clock
        self._metrics = metrics
        self._pause = pause
        self._lock = threading.Condition()
        self._watched: dict[SourceRef, _WatchedSource] = {}

    def follow(self, ref: SourceRef, volume_id: str) -> None:
        """Watch a volume's companion until `unfollow`; repeating it does no harm.

        Raises:
            LimitReached: the process may not have another watch.
        """
        with self._lock:
            watched = self._watched.get(ref)
            if watched is None:
                watched = _WatchedSource()
                self._check_limit()
                name, args = f"follow-{ref.id[:8]}", (ref, watched)
                thread = threading.Thread(target=self._run, args=args, name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise LimitReached("the node plugin cannot start another thread") from error
                self._watched[ref] = watched
            watched.volumes.add(volume_id)

    def request_rewrite(self, volume_id: str) -> None:
        """Request a rewrite of a volume's file, as if its companion had changed."""
        self._on_change(frozenset({volume_id}))

    def unfollow(self, ref: SourceRef, volume_id: str) -> None:
        """Stop watching for a volume; the last one of its source ends the watch."""
        with self._lock:
            watched = self._watched.get(ref)
            if watched is None:
                return
            watched.volumes.discard(volume_id)
            if not watched.volumes:
                watched.stop.set()
                del self._watched[ref]
            self._lock.notify_all()

    def latest(self, ref: SourceRef) -> ObservedCompanion:
        with self._lock:
            watched = self._watched.get(ref)
            return ObservedCompanion() if watched is None else watched.observed

    def wait(
        self,
        ref: SourceRef,
        is_enough: Callable[[ObservedCompanion], bool],
        seconds: float,
        cancel: threading.Event,
    ) -> ObservedCompanion:
        """Return the companion once it `is_enough`, or when time is over or `cancel` is set."""

        def is_over() -> bool:
            watched = self._watched.get(ref)
            return cancel.is_set() or watched is None or is_enough(watched.observed)

        with self._lock:
            self._lock.wait_for(is_over, seconds)
        return self.latest(ref)

    def problems(self) -> list[str]:
        """Return the errors of companions that were never seen; the others are in memory."""
        with self._lock:
            observed = [followed.observed for followed in self._watched.values()]
        return [str(s.error) for s in observed if s.error is not None and s.companion is None]

    def wake(self) -> None:
        """Let every `wait` check its `cancel` again."""
        with self._lock:
            self._lock.notify_all()

    def stop(self) -> None:
        with self._lock:
            for followed in self._watched.values():
                followed.stop.set()
            self._watched.clear()
            self._lock.notify_all()

    def _run(self, ref: SourceRef, watched: _WatchedSource) -> None:
        failures = 0
        while not watched.stop.is_set():
            began, before, received = self._clock.monotonic(), watched.observed, False
            try:
                for secret in self._companions.watch_secret(
                    self._namespace, ref.companion, watched.stop
                ):
                    observed = _observe(watched.observed, ref, secret)
                    observed = self._with_age(observed, watched.observed, live=received)
                    received = True
                    self._update(watched, observed)
                if self._clock.monotonic() - began >= MIN_WATCH_SECONDS or _has_changed(
                    before, watched.observed
                ):
                    failures = 0
                    continue
            except StoreError as error:
                log.warning("cannot watch the companion of Secret %s: %s", ref, error)
                self._update(watched, replace(watched.observed, error=error))
            except Exception:
                log.exception("watching the companion of Secret %s failed", ref)
            failures = 1 if received else failures + 1
            pause = self._pause(failures, stable_jitter(ref.id, failures))
            if not watched.stop.wait(pause):
                self._metrics.watch_reconnects.inc()

    def _check_limit(self) -> None:
        count, files = len(self._watched), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if 0 <= files < OTHER_DESCRIPTORS + DESCRIPTORS * (count + 1):  # infinity is negative
            text = f"this node has tokens of {count} Secrets already, and may open {files} files"
            raise LimitReached(f"{text}; raise the node plugin's limit of open files")

    def _with_age(
        self, observed: ObservedCompanion, before: ObservedCompanion, *, live: bool
    ) -> ObservedCompanion:
        """Add what a new token tells about this node's clock."""
        new, old = observed.companion, before.companion
        if new is None or new.token is None or (old is not None and new.token == old.token):
            return observed
        age = self._clock.now() - new.token.written_at
        if live or age < 0:
            self._metrics.clock_ahead.set(age)
        return replace(observed, age=age, live=live)

    def _update(self, watched: _WatchedSource, observed: ObservedCompanion) -> None:
        with self._lock:
            watched.observed = observed
            volumes = frozenset(watched.volumes)
            self._lock.notify_all()
        self._on_change(volumes)


def _has_changed(before: ObservedCompanion, after: ObservedCompanion) -> bool:
    # Only the first error of a damaged companion is news.
    return (before.answered, before.companion) != (after.answered, after.companion)


def _observe(before: ObservedCompanion, ref: SourceRef, secret: Secret | None) -> ObservedCompanion:
    # Never an older generation, and never another source's token.
    if secret is None:
        return replace(before, answered=True, error=None)
    try:
        companion = parse_for_node(secret)
    except InvalidSecret as damaged:
        return replace(before, answered=True, error=damaged)
    if companion.source != ref:
        problem = f"belongs to {companion.source}, not to {ref}"
        foreign = InvalidSecret(f"Secret {secret.namespace}/{secret.name}", [problem])
        return replace(before, answered=True, error=foreign)
    known = before.companion
    # A Secret that was deleted and created again has another uid, and generations from 1.
    if known is not None and known.source_uid == companion.source_uid:
        companion = known if known.generation > companion.generation else companion
    return replace(before, answered=True, companion=companion, error=None)
