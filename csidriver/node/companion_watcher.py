"""Follows companions: one watch per distinct source on the node, shared by its volumes.

What was seen last stays in memory and is served when the backend is away.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from csidriver.core.backoff import backoff, stable_jitter
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.volume.readiness import ObservedCompanion
from csidriver.errors import InvalidSecret, StoreError

log = logging.getLogger(__name__)

# Seconds between two attempts to watch while the backend refuses or is away, at most.
MAX_RECONNECT_PAUSE = 30.0
# A watch that ends sooner (as client-go has it) and told nothing new is as good as a failed one.
MIN_WATCH_SECONDS = 1.0


class Companions(Protocol):
    """Where companions are read."""

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        """The Secret as it is (None if absent), then as it becomes; raises StoreError."""


@dataclass(slots=True)
class _WatchedSource:
    observed: ObservedCompanion = field(default_factory=ObservedCompanion)
    volumes: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)


def _pause(failures: int, u: float) -> float:
    """Seconds until the next attempt after so many failures; `u` in [0, 1) spreads the nodes."""
    return backoff(failures, u, MAX_RECONNECT_PAUSE)


@dataclass(frozen=True, slots=True)
class WatchTiming:
    """What a follower knows of time: a clock that never jumps, and how long to pause."""

    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[int, float], float] = _pause


class CompanionWatcher:
    """Owns the watches. From their threads it calls `changed` with the volumes to rewrite.

    `renewing` is called when a watch begins again after a failure.
    """

    def __init__(
        self,
        companions: Companions,
        namespace: str,
        on_change: Callable[[frozenset[str]], None],
        *,
        timing: WatchTiming | None = None,
        on_reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self._companions = companions
        self._namespace = namespace
        self._on_change = on_change
        self._timing = timing or WatchTiming()
        self._on_reconnect = on_reconnect
        self._lock = threading.Condition()
        self._watched: dict[SourceRef, _WatchedSource] = {}

    def follow(self, ref: SourceRef, volume_id: str) -> None:
        """Keep a volume's companion in sight until `unfollow`. Harmless when repeated."""
        with self._lock:
            watched = self._watched.get(ref)
            if watched is None:
                watched = _WatchedSource()
                name, args = f"follow-{ref.id[:8]}", (ref, watched)
                threading.Thread(target=self._run, args=args, name=name, daemon=True).start()
                self._watched[ref] = watched
            watched.volumes.add(volume_id)

    def request_rewrite(self, volume_id: str) -> None:
        """Have a volume's file brought up to date, as if its companion had changed."""
        self._on_change(frozenset({volume_id}))

    def unfollow(self, ref: SourceRef, volume_id: str) -> None:
        """The volume is gone; the last one ends the watch."""
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
        """What was seen last, without waiting."""
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
        """The first good sighting, or the last one when time is over or `cancel` is set."""

        def over() -> bool:
            watched = self._watched.get(ref)
            return cancel.is_set() or watched is None or is_enough(watched.observed)

        with self._lock:
            self._lock.wait_for(over, seconds)
            followed = self._watched.get(ref)
            return ObservedCompanion() if followed is None else followed.observed

    def problems(self) -> list[str]:
        """Companions that cannot be read and were never seen; the others are served from memory."""
        with self._lock:
            observed = [followed.observed for followed in self._watched.values()]
        return [str(s.error) for s in observed if s.error is not None and s.companion is None]

    def wake(self) -> None:
        """Let every `wait` look at its `cancel` again."""
        with self._lock:
            self._lock.notify_all()

    def stop(self) -> None:
        """End every watch."""
        with self._lock:
            for followed in self._watched.values():
                followed.stop.set()
            self._watched.clear()
            self._lock.notify_all()

    def _run(self, ref: SourceRef, watched: _WatchedSource) -> None:
        failures = 0
        while not watched.stop.is_set():
            began, before, received = self._timing.monotonic(), watched.observed, False
            try:
                for secret in self._companions.watch_secret(
                    self._namespace, ref.companion, watched.stop
                ):
                    received = True
                    self._update(watched, _observe(watched.observed, ref, secret))
                if self._timing.monotonic() - began >= MIN_WATCH_SECONDS or _has_changed(
                    before, watched.observed
                ):
                    failures = 0
                    continue
            except StoreError as error:
                log.warning("cannot watch the companion of Secret %s: %s", ref, error)
                self._update(watched, replace(watched.observed, error=error))
            except Exception:
                log.exception("following the companion of Secret %s failed", ref)
            failures = 1 if received else failures + 1
            pause = self._timing.pause(failures, stable_jitter(ref.id, failures))
            if not watched.stop.wait(pause):
                self._on_reconnect()

    def _update(self, watched: _WatchedSource, observed: ObservedCompanion) -> None:
        with self._lock:
            watched.observed = observed
            volumes = frozenset(watched.volumes)
            self._lock.notify_all()
        self._on_change(volumes)


def _has_changed(before: ObservedCompanion, after: ObservedCompanion) -> bool:
    """Whether a watch has told more than was known; a damaged companion is no news twice."""
    return (before.answered, before.companion) != (after.answered, after.companion)


def _observe(before: ObservedCompanion, ref: SourceRef, secret: Secret | None) -> ObservedCompanion:
    """The next sighting: never an older generation, never another source's token."""
    if secret is None:
        return replace(before, answered=True, error=None)
    try:
        companion = Companion.from_secret(secret)
    except InvalidSecret as damaged:
        return replace(before, answered=True, error=damaged)
    if companion.source != ref:
        problem = f"belongs to {companion.source}, not to {ref}"
        foreign = InvalidSecret(f"Secret {secret.namespace}/{secret.name}", [problem])
        return replace(before, answered=True, error=foreign)
    known = before.companion
    # A Secret that was deleted and made again has another uid and starts again with 1.
    if known is not None and known.source_uid == companion.source_uid:
        companion = known if known.generation > companion.generation else companion
    return ObservedCompanion(answered=True, companion=companion)
