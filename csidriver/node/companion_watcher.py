"""Watches companions: all volumes of a source on the node share what was seen of it.

The companion that was seen last stays in memory for times without the backend.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from csidriver.clock import Clock
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.names import SourceRef
from csidriver.core.volume.readiness import ObservedCompanion
from csidriver.errors import InvalidSecret, StoreError
from csidriver.node.metrics import NodeMetrics

# A companion, None if it does not exist, or why it is not known.
CompanionState = Companion | InvalidSecret | StoreError | None


Receive = Callable[[CompanionState], None]


class CompanionSource(Protocol):
    """Where the companions of a node's pods come from, and what else a publish reads for a pod."""

    def follow(self, ref: SourceRef, pod: PodRef, receive: Receive) -> Callable[[], None]:
        """Call `receive` now and after each change, until the returned function is called."""

    def get_namespace_uid(self, pod: PodRef, secret: str) -> str | None:
        """Return the uid of the pod's namespace, which owns the Secret's tokens; raise StoreError.

        It is "" if there is none, and None if nobody can tell, which is no reason to wait.
        """

    def get_config_map(self, pod: PodRef, name: str) -> Mapping[str, str] | None:
        """Return the `data` of a ConfigMap, or None if it does not exist; raise StoreError."""


@dataclass(eq=False, slots=True)
class _WatchedSource:
    observed: ObservedCompanion = field(default_factory=ObservedCompanion)
    # How to end what was begun for each volume.
    volumes: dict[str, Callable[[], None]] = field(default_factory=dict)


class CompanionWatcher:
    """Calls `on_change` with the volumes to rewrite, from the threads of its source."""

    def __init__(
        self,
        companions: CompanionSource,
        on_change: Callable[[frozenset[str]], None],
        clock: Clock,
        metrics: NodeMetrics,
    ) -> None:
        self._companions = companions
        self._on_change = on_change
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Condition()
        self._watched: dict[SourceRef, _WatchedSource] = {}

    def follow(self, ref: SourceRef, pod: PodRef, volume_id: str) -> None:
        """Watch a volume's companion until `unfollow`; repeating it does no harm."""
        with self._lock:
            watched = self._watched.setdefault(ref, _WatchedSource())
            if volume_id not in watched.volumes:
                receive = partial(self._receive, watched)
                watched.volumes[volume_id] = self._companions.follow(ref, pod, receive)

    def request_rewrite(self, volume_id: str) -> None:
        """Request a rewrite of a volume's file, as if its companion had changed."""
        self._on_change(frozenset({volume_id}))

    def unfollow(self, ref: SourceRef, volume_id: str) -> None:
        """Stop watching for a volume; the last one of its source forgets the companion."""
        with self._lock:
            watched = self._watched.get(ref)
            if watched is None or volume_id not in watched.volumes:
                return
            watched.volumes.pop(volume_id)()
            if not watched.volumes:
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
            for watched in self._watched.values():
                for end in watched.volumes.values():
                    end()
            self._watched.clear()
            self._lock.notify_all()

    def _receive(self, watched: _WatchedSource, state: CompanionState) -> None:
        with self._lock:
            before = watched.observed
            # Two brokers, and each pod of the source, bring the same.
            if (observed := _observe(before, state)) == before and state is not None:
                return
            watched.observed = self._with_age(observed, before)
            volumes = frozenset(watched.volumes)
            self._lock.notify_all()
        self._on_change(volumes)

    def _with_age(
        self, observed: ObservedCompanion, before: ObservedCompanion
    ) -> ObservedCompanion:
        """Add what a new token tells about this node's clock."""
        new, old = observed.companion, before.companion
        if new is None or new.token is None or (old is not None and new.token == old.token):
            return observed
        age = self._clock.now() - new.token.written_at
        live = before.answered and not isinstance(before.error, StoreError)
        if live or age < 0:
            self._metrics.clock_ahead.set(age)
        return replace(observed, age=age, live=live)


def _observe(before: ObservedCompanion, state: CompanionState) -> ObservedCompanion:
    # Never an older generation.
    if isinstance(state, StoreError):
        return replace(before, error=state)
    if isinstance(state, InvalidSecret):
        return replace(before, answered=True, error=state)
    known = before.companion
    if state is None:
        return replace(before, answered=True, error=None)
    if state is known and before.error is None:
        return before
    # A Secret that was deleted and created again has another uid, and generations from 1.
    if known is not None and known.source_uid == state.source_uid:
        state = known if known.generation > state.generation else state
    return replace(before, answered=True, companion=state, error=None)
