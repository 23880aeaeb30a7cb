"""Follows companions: one watch per distinct source on the node, shared by its volumes.

What was seen last stays in memory and is served when the backend is away.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from csidriver.core.companion import Companion
from csidriver.core.contract import Ref
from csidriver.core.schedule import backoff, spread
from csidriver.core.secret import Secret
from csidriver.errors import DriverError, InvalidSecret, StoreError

log = logging.getLogger(__name__)

# Seconds between two attempts to watch while the backend refuses or is away, at most.
RECONNECT_CAP = 30.0


class Companions(Protocol):
    """Where companions are read."""

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        """The Secret as it is (None if absent), then as it becomes; raises StoreError."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of one companion: `looked` once the backend has answered at all.

    `error` is the backend's refusal or failure that came after the last answer.
    """

    looked: bool = False
    companion: Companion | None = None
    error: DriverError | None = None


@dataclass(slots=True)
class _Followed:
    sighting: Sighting = Sighting()
    volumes: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)


class Follower:
    """Owns the watches. `changed` is called with the volumes to rewrite, from a watch thread."""

    def __init__(
        self, companions: Companions, namespace: str, changed: Callable[[frozenset[str]], None]
    ) -> None:
        self._companions = companions
        self._namespace = namespace
        self._changed = changed
        self._lock = threading.Condition()
        self._followed: dict[Ref, _Followed] = {}

    def follow(self, ref: Ref, volume_id: str) -> None:
        """Keep a volume's companion in sight until `unfollow`. Harmless when repeated."""
        with self._lock:
            followed = self._followed.get(ref)
            if followed is None:
                followed = _Followed()
                name, args = f"follow-{ref.id[:8]}", (ref, followed)
                threading.Thread(target=self._run, args=args, name=name, daemon=True).start()
                self._followed[ref] = followed
            followed.volumes.add(volume_id)

    def nudge(self, volume_id: str) -> None:
        """Have a volume's file brought up to date, as if its companion had changed."""
        self._changed(frozenset({volume_id}))

    def unfollow(self, ref: Ref, volume_id: str) -> None:
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

    def latest(self, ref: Ref) -> Sighting:
        """What was seen last, without waiting."""
        with self._lock:
            followed = self._followed.get(ref)
            return Sighting() if followed is None else followed.sighting

    def wait(
        self, ref: Ref, good: Callable[[Sighting], bool], seconds: float, cancel: threading.Event
    ) -> Sighting:
        """The first good sighting, or the last one when time is over or `cancel` is set."""

        def over() -> bool:
            followed = self._followed.get(ref)
            return cancel.is_set() or followed is None or good(followed.sighting)

        with self._lock:
            self._lock.wait_for(over, seconds)
            followed = self._followed.get(ref)
            return Sighting() if followed is None else followed.sighting

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

    def _run(self, ref: Ref, followed: _Followed) -> None:
        failures = 0
        while not followed.stop.is_set():
            try:
                for secret in self._companions.watch_secret(
                    self._namespace, ref.companion, followed.stop
                ):
                    failures = 0
                    self._saw(followed, _sighting(followed.sighting, ref, secret))
            except StoreError as error:
                failures += 1
                log.warning("cannot watch the companion of Secret %s: %s", ref, error)
                self._saw(followed, replace(followed.sighting, error=error))
            except Exception:
                failures += 1
                log.exception("following the companion of Secret %s failed", ref)
            followed.stop.wait(backoff(max(1, failures), spread(ref.id, failures), RECONNECT_CAP))

    def _saw(self, followed: _Followed, sighting: Sighting) -> None:
        with self._lock:
            followed.sighting = sighting
            volumes = frozenset(followed.volumes)
            self._lock.notify_all()
        self._changed(volumes)


def _sighting(before: Sighting, ref: Ref, secret: Secret | None) -> Sighting:
    """The next sighting: never an older generation, never another source's token."""
    if secret is None:
        return replace(before, looked=True, error=None)
    try:
        companion = Companion.from_secret(secret)
    except InvalidSecret as damaged:
        return replace(before, looked=True, error=damaged)
    if companion.source != ref:
        problem = f"belongs to {companion.source}, not to {ref}"
        foreign = InvalidSecret(f"Secret {secret.namespace}/{secret.name}", [problem])
        return replace(before, looked=True, error=foreign)
    known = before.companion
    # A Secret that was deleted and made again has another uid and starts again with 1.
    if known is not None and known.source_uid == companion.source_uid:
        companion = known if known.generation > companion.generation else companion
    return Sighting(looked=True, companion=companion)
