"""All companions in memory: their newest states, who follows them, and the watch that feeds them.

While the API server is away, nodes keep what they have.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from csidriver.broker.updates import ABSENT, CompanionState, state_of
from csidriver.core.backoff import backoff
from csidriver.core.kubernetes.change import SecretChange
from csidriver.errors import StoreError

log = logging.getLogger(__name__)

_PAUSE = partial(backoff, u=0.5, cap=5.0)

# Takes the newest state; must not block.
Offer = Callable[[CompanionState], None]


class CompanionStore(Protocol):
    """The backend's companions."""

    def watch_changes(self, stop: threading.Event) -> Iterator[SecretChange | None]:
        """Yield all companions, None, and their changes, with content; raises StoreError."""


class Companions:
    """`run` is for a thread of its own, `follow` for the event loop. A name is that of a Secret.

    `listed` is set once all companions are known.
    """

    def __init__(self, store: CompanionStore, pause: Callable[[int], float] = _PAUSE) -> None:
        self.listed = threading.Event()
        self._store = store
        self._pause = pause
        # Written by the thread, read by both.
        self._states: dict[str, CompanionState] = {}
        self._followers: dict[str, set[Offer]] = {}

    def __len__(self) -> int:
        return len(self._states)

    def follow(self, name: str, offer: Offer) -> Callable[[], None]:
        """Offer the state now and after each change, until the returned function is called."""
        self._followers.setdefault(name, set()).add(offer)
        offer(self._states.get(name, ABSENT))
        return partial(self._unfollow, name, offer)

    def _unfollow(self, name: str, offer: Offer) -> None:
        self._followers[name].remove(offer)
        if not self._followers[name]:
            del self._followers[name]

    def _offer(self, names: list[str]) -> None:
        for name in names:
            for offer in self._followers.get(name, ()):
                offer(self._states.get(name, ABSENT))

    def run(self, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        """Watch until `stop`, whatever fails, and offer changes in the loop."""
        failures = 0
        while not stop.is_set():
            try:
                for changed in self._watch(stop):
                    failures = 0
                    loop.call_soon_threadsafe(self._offer, changed)
            except StoreError as error:
                log.warning("cannot watch companions: %s", error)
            except Exception:
                log.exception("watching companions failed")
            failures += 1
            stop.wait(self._pause(failures))

    def _watch(self, stop: threading.Event) -> Iterator[list[str]]:
        """Yield the names of companions that have changed, until the watch ends."""
        unseen = set(self._states)
        for change in self._store.watch_changes(stop):
            if change is None:
                for name in unseen:
                    del self._states[name]
                yield list(unseen)
                self.listed.set()
                continue
            name = change.ref.companion
            unseen.discard(name)
            known = self._states.get(name)
            if known is not None and known.version == change.resource_version:
                continue
            if change.content is None:
                self._states.pop(name, None)
            else:
                self._states[name] = state_of(change.content)
            yield [name]
