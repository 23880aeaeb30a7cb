"""Watches by looking again and again: only files whose signature changed are read again.

A file that was changed a moment ago is read again even so, for the clock that stamps files is
coarse and inodes are used again. One that became unfit a moment ago counts as it was: an editor
may be in the middle of writing it.
"""

import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from csidriver.adapters.directory.files import Signature
from csidriver.adapters.directory.manifest_files import ManifestFiles
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core import annotations, names
from csidriver.core.kubernetes.change import Namespaces, SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef

_STABLE_AFTER = 100_000_000  # nanoseconds; ten ticks of the slowest clock in use, 100 Hz


@dataclass(frozen=True, slots=True)
class _ObservedFile:
    signature: Signature
    is_stable: bool
    secret: Secret | None


class PollingWatch:
    """What one watch saw last; not shared between threads."""

    def __init__(self, manifests: ManifestFiles) -> None:
        self._manifests = manifests
        self._observed: dict[ObjectKey, _ObservedFile] = {}

    def secret(self, slot: ObjectKey, signature: Signature | None) -> Secret | None:
        """The Secret in a file of this signature, None without a file or if it is unfit."""
        if signature is None:
            self._observed.pop(slot, None)
            return None
        before = self._observed.get(slot)
        if before is not None and before.is_stable and before.signature == signature:
            return before.secret
        settled = abs(time.time_ns() - signature[0]) > _STABLE_AFTER
        stored = self._manifests.load(slot)
        secret = None if stored is None else stored.secret
        if secret is None and before is not None and not settled:
            secret = before.secret
        self._observed[slot] = _ObservedFile(signature, settled, secret)
        return secret

    def secrets(self) -> list[Secret]:
        """All Secrets of all namespaces."""
        seen = dict(self._files())
        for gone in self._observed.keys() - seen.keys():
            del self._observed[gone]
        secrets = [self.secret(slot, signature) for slot, signature in seen.items()]
        return [secret for secret in secrets if secret is not None]

    def _files(self) -> Iterator[tuple[ObjectKey, Signature]]:
        for namespace in self._manifests.tree.namespaces():
            for file, signature in self._manifests.tree.files(namespace).items():
                slot = ObjectKey.from_file(namespace, file)
                if slot is None:
                    path = f"{namespace}/{file}"
                    self._manifests.warn(path, reason="its name is not <kind>.<name>.yaml")
                elif slot.kind == "secret":
                    yield slot, signature


def to_change(secret: Secret, namespaces: Namespaces) -> SecretChange | None:
    """A Secret as a watch tells it, None if it is none of ours."""
    version, notes = secret.resource_version, secret.annotations
    enrolled = not namespaces.sources or secret.namespace in namespaces.sources
    if enrolled and notes.get(annotations.IS_TOKEN) == "true":
        by_us = secret.manager == names.FIELD_MANAGER
        return SecretChange(
            SourceRef(secret.namespace, secret.name), TokenObject.SOURCE, version, by_us
        )
    ref = SourceRef(
        notes.get(annotations.SOURCE_NAMESPACE, ""), notes.get(annotations.SOURCE_NAME, "")
    )
    if (secret.namespace, secret.type) == (namespaces.driver, annotations.GRANT_TYPE):
        return SecretChange(ref, TokenObject.GRANT, version) if secret.name == ref.grant else None
    if (secret.namespace, secret.type) == (namespaces.tokens, annotations.COMPANION_TYPE):
        return (
            SecretChange(ref, TokenObject.COMPANION, version)
            if secret.name == ref.companion
            else None
        )
    return None


def watch_changes(
    shelf: ManifestFiles, places: Namespaces, stop: threading.Event, *, poll: float
) -> Generator[SecretChange | None, None, None]:
    """Everything there is, None, then every change, until `stop`; looks every `poll` seconds."""
    glance = PollingWatch(shelf)
    known: dict[tuple[TokenObject, SourceRef], SecretChange] = {}
    first = True
    while not stop.is_set():
        found = [change for s in glance.secrets() if (change := to_change(s, places)) is not None]
        now = {(change.token_object, change.ref): change for change in found}
        yield from (change for key, change in now.items() if known.get(key) != change)
        yield from (SecretChange(ref, what, "") for what, ref in known.keys() - now.keys())
        if first:
            yield None
        known, first = now, False
        stop.wait(poll)


def watch_secret(
    shelf: ManifestFiles, slot: ObjectKey, stop: threading.Event, *, poll: float
) -> Iterator[Secret | None]:
    """The Secret in a slot, None while it is absent, then every change of it, until `stop`."""
    glance = PollingWatch(shelf)
    known: Secret | None = None
    first = True
    while not stop.is_set():
        now = glance.secret(slot, shelf.tree.signature(slot))
        if first or _differ(known, now):
            yield now
        known, first = now, False
        stop.wait(poll)


def _differ(one: Secret | None, other: Secret | None) -> bool:
    if one is None or other is None:
        return one is not other
    return one.resource_version != other.resource_version
