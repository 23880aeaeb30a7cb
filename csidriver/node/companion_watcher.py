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
RECONNECT_CAP = 30.0
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
    sighting: ObservedCompanion = field(default_factory=ObservedCompanion)
    volumes: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)


def _pause(failures: int, u: float) -> float:
    """Seconds until the next attempt after so many failures; `u` in [0, 1) spreads the nodes."""
    return backoff(failures, u, RECONNECT_CAP)


@dataclass(frozen=True, slots=True)
class Timing:
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
        changed: Callable[[frozenset[str]], None],
        *,
        timing: Timing | None = None,
        renewing: Callable[[], None] = lambda: None,
    ) -> None:
        self._companions = companions
        self._namespace = namespace
        self._changed = changed
        self._timing = timing or Timing()
        self._renewing = renewing
        self._lock = threading.Condition()
        self._followed: dict[SourceRef, _WatchedSource] = {}

    def follow(self, ref: SourceRef, volume_id: str) -> None:
        """Keep a volume's companion in sight until `unfollow`. Harmless when repeated."""
        with self._lock:
            followed = self._followed.get(ref)
            if followed is None:
                followed = _WatchedSource()
                name, args = f"follow-{ref.id[:8]}", (ref, followed)
                threading.Thread(target=self._run, args=args, name=name, daemon=True).start()
                self._followed[ref] = followed
            followed.volumes.add(volume_id)

    def request_rewrite(self, volume_id: str) -> None:
        """Have a volume's file brought up to date, as if its companion had changed."""
        self._changed(frozenset({volume_id}))

    def unfollow(self, ref: SourceRef, volume_id: str) -> None:
        """The volume is gone; the last one ends the watch."""
        with self._lock:
            followed = self._followed.get(ref)
            if followed is None:
                return
            followed.volumes.discard(volume_id)
            if not followed.volumes:
                followed.stop.set()
                del self._followed[ref]
            self._lock.notify_all()

    def latest(self, ref: SourceRef) -> ObservedCompanion:
        """What was seen last, without waiting."""
        with self._lock:
            followed = self._followed.get(ref)
            return ObservedCompanion() if followed is None else followed.sighting

    def wait(
        self,
        ref: SourceRef,
        good: Callable[[ObservedCompanion], bool],
        seconds: float,
        cancel: threading.Event,
    ) -> ObservedCompanion:
        """The first good sighting, or the last one when time is over or `cancel` is set."""

        def over() -> bool:
            followed = self._followed.get(ref)
            return cancel.is_set() or followed is None or good(followed.sighting)

        with self._lock:
            self._lock.wait_for(over, seconds)
            followed = self._followed.get(ref)
            return ObservedCompanion() if followed is None else followed.sighting

    def problems(self) -> list[str]:
        """Companions that cannot be read and were never seen; the others are served from memory."""
        with self._lock:
            sightings = [followed.sighting for followed in self._followed.values()]
        return [str(s.error) for s in sightings if s.error is not None and s.companion is None]

    def wake(self) -> None:
        """Let every `wait` look at its `cancel` again."""
        with self._lock:
            self._lock.notify_all()

    def stop(self) -> None:
        """End every watch."""
        with self._lock:
            for followed in self._followed.values():
                followed.stop.set()
            self._followed.clear()
            self._lock.notify_all()

    def _run(self, ref: SourceRef, followed: _WatchedSource) -> None:
        failures = 0
        while not followed.stop.is_set():
            began, before, heard = self._timing.monotonic(), followed.sighting, False
            try:
                for secret in self._companions.watch_secret(
                    self._namespace, ref.companion, followed.stop
                ):
                    heard = True
                    self._update(followed, _sighting(followed.sighting, ref, secret))
                if self._timing.monotonic() - began >= MIN_WATCH_SECONDS or _is_news(
                    before, followed.sighting
                ):
                    failures = 0
                    continue
            except StoreError as error:
                log.warning("cannot watch the companion of Secret %s: %s", ref, error)
                self._update(followed, replace(followed.sighting, error=error))
            except Exception:
                log.exception("following the companion of Secret %s failed", ref)
            failures = 1 if heard else failures + 1
            pause = self._timing.pause(failures, stable_jitter(ref.id, failures))
            if not followed.stop.wait(pause):
                self._renewing()

    def _update(self, followed: _WatchedSource, sighting: ObservedCompanion) -> None:
        with self._lock:
            followed.sighting = sighting
            volumes = frozenset(followed.volumes)
            self._lock.notify_all()
        self._changed(volumes)


def _is_news(before: ObservedCompanion, after: ObservedCompanion) -> bool:
    """Whether a watch has told more than was known; a damaged companion is no news twice."""
    return (before.answered, before.companion) != (after.answered, after.companion)


def _sighting(
    before: ObservedCompanion, ref: SourceRef, secret: Secret | None
) -> ObservedCompanion:
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
