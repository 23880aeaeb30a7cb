"""Watches by looking again and again: only files whose signature changed are read again.

A file that was changed a moment ago is read again even so, for the clock that stamps files is
coarse and inodes are used again. One that became unfit a moment ago counts as it was: an editor
may be in the middle of writing it.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from csidriver.adapters.directory.folder import Signature
from csidriver.adapters.directory.shelf import Shelf
from csidriver.adapters.directory.slot import Slot
from csidriver.core.contract import IS_TOKEN, Ref
from csidriver.core.secret import Secret
from csidriver.core.store import SourceChange

_RESTLESS = 100_000_000  # nanoseconds; ten ticks of the slowest clock in use, 100 Hz


@dataclass(frozen=True, slots=True)
class _Look:
    signature: Signature
    settled: bool
    secret: Secret | None


class Glance:
    """What one watch saw last; not shared between threads."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._looks: dict[Slot, _Look] = {}

    def secret(self, slot: Slot, signature: Signature | None) -> Secret | None:
        """The Secret in a file of this signature, None without a file or if it is unfit."""
        if signature is None:
            self._looks.pop(slot, None)
            return None
        before = self._looks.get(slot)
        if before is not None and before.settled and before.signature == signature:
            return before.secret
        settled = abs(time.time_ns() - signature[0]) > _RESTLESS
        stored = self._shelf.load(slot)
        secret = None if stored is None else stored.secret
        if secret is None and before is not None and not settled:
            secret = before.secret
        self._looks[slot] = _Look(signature, settled, secret)
        return secret

    def sources(self) -> dict[Ref, str]:
        """The resourceVersion of every annotated Secret."""
        seen = dict(self._files())
        for gone in self._looks.keys() - seen.keys():
            del self._looks[gone]
        secrets = [self.secret(slot, signature) for slot, signature in seen.items()]
        return {
            Ref(secret.namespace, secret.name): secret.resource_version
            for secret in secrets
            if secret is not None and secret.annotations.get(IS_TOKEN) == "true"
        }

    def _files(self) -> Iterator[tuple[Slot, Signature]]:
        for namespace in self._shelf.folder.namespaces():
            for file, signature in self._shelf.folder.files(namespace).items():
                slot = Slot.of_file(namespace, file)
                if slot is None:
                    path = f"{namespace}/{file}"
                    self._shelf.warn(path, reason="its name is not <kind>.<name>.yaml")
                elif slot.kind == "secret":
                    yield slot, signature


def sources(shelf: Shelf, stop: threading.Event, *, poll: float) -> Iterator[SourceChange]:
    """Every source, then every change of one, until `stop`; looks every `poll` seconds."""
    glance = Glance(shelf)
    known: dict[Ref, str] = {}
    while not stop.is_set():
        now = glance.sources()
        gone = dict.fromkeys(known.keys() - now.keys(), "")
        for ref, version in {**now, **gone}.items():
            if known.get(ref) != version:
                yield SourceChange(ref, version)
        known = now
        stop.wait(poll)


def secret(
    shelf: Shelf, slot: Slot, stop: threading.Event, *, poll: float
) -> Iterator[Secret | None]:
    """The Secret in a slot, None while it is absent, then every change of it, until `stop`."""
    glance = Glance(shelf)
    known: Secret | None = None
    first = True
    while not stop.is_set():
        now = glance.secret(slot, shelf.folder.signature(slot))
        if first or _differ(known, now):
            yield now
        known, first = now, False
        stop.wait(poll)


def _differ(one: Secret | None, other: Secret | None) -> bool:
    if one is None or other is None:
        return one is not other
    return one.resource_version != other.resource_version
