"""Watches that poll: only files whose signature has changed are read again.

A file that changed a moment ago is read again anyway, because the clock of file times is coarse
and inodes are reused. If it became invalid a moment ago, its previous content counts: an editor may
be writing it.
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
    """The files that one watch has read; not thread-safe."""

    def __init__(self, manifests: ManifestFiles) -> None:
        self._manifests = manifests
        self._observed: dict[ObjectKey, _ObservedFile] = {}

    def secret(self, key: ObjectKey, signature: Signature | None) -> Secret | None:
        """Return the Secret in a file with this signature, None if there is no valid one."""
        if signature is None:
            self._observed.pop(key, None)
            return None
        before = self._observed.get(key)
        if before is not None and before.is_stable and before.signature == signature:
            return before.secret
        is_stable = abs(time.time_ns() - signature[0]) > _STABLE_AFTER
        stored = self._manifests.load(key)
        secret = None if stored is None else stored.secret
        if secret is None and before is not None and not is_stable:
            secret = before.secret
        self._observed[key] = _ObservedFile(signature, is_stable, secret)
        return secret

    def secrets(self) -> list[Secret]:
        signatures = dict(self._files())
        for deleted in self._observed.keys() - signatures.keys():
            del self._observed[deleted]
        secrets = [self.secret(key, signature) for key, signature in signatures.items()]
        return [secret for secret in secrets if secret is not None]

    def _files(self) -> Iterator[tuple[ObjectKey, Signature]]:
        for namespace in self._manifests.tree.namespaces():
            for file, signature in self._manifests.tree.files(namespace).items():
                key = ObjectKey.from_file(namespace, file)
                if key is None:
                    path = f"{namespace}/{file}"
                    self._manifests.warn(path, reason="its name is not <kind>.<name>.yaml")
                elif key.kind == "secret":
                    yield key, signature


def to_change(secret: Secret, namespaces: Namespaces) -> SecretChange | None:
    """Return the change that a Secret stands for, None if it is not one of a token."""
    version, known = secret.resource_version, secret.annotations
    watched = not namespaces.sources or secret.namespace in namespaces.sources
    if watched and known.get(annotations.IS_TOKEN) == "true":
        by_driver = secret.manager == names.FIELD_MANAGER
        ref = SourceRef(secret.namespace, secret.name)
        return SecretChange(ref, TokenObject.SOURCE, version, by_driver, secret.uid)
    ref = SourceRef(
        known.get(annotations.SOURCE_NAMESPACE, ""), known.get(annotations.SOURCE_NAME, "")
    )
    if (secret.namespace, secret.type) == (namespaces.driver, annotations.GRANT_SECRET_TYPE):
        expected, token_object = ref.grant, TokenObject.GRANT
    elif (secret.namespace, secret.type) == (namespaces.tokens, annotations.COMPANION_SECRET_TYPE):
        expected, token_object = ref.companion, TokenObject.COMPANION
    else:
        return None
    return SecretChange(ref, token_object, version) if secret.name == expected else None


def watch_changes(
    manifests: ManifestFiles, namespaces: Namespaces, stop: threading.Event, *, poll: float
) -> Generator[SecretChange | None, None, None]:
    """Yield all objects, None, then every change, until `stop`; polls every `poll` seconds."""
    watch = PollingWatch(manifests)
    known: dict[tuple[TokenObject, SourceRef], SecretChange] = {}
    first = True
    while not stop.is_set():
        found = [to_change(secret, namespaces) for secret in watch.secrets()]
        now = {(change.token_object, change.ref): change for change in found if change is not None}
        yield from (change for key, change in now.items() if known.get(key) != change)
        deleted = known.keys() - now.keys()
        yield from (SecretChange(ref, token_object, "") for token_object, ref in deleted)
        if first:
            yield None
        known, first = now, False
        stop.wait(poll)


def watch_secret(
    manifests: ManifestFiles, key: ObjectKey, stop: threading.Event, *, poll: float
) -> Iterator[Secret | None]:
    """Yield one Secret (None while it does not exist), then every change of it, until `stop`."""
    watch = PollingWatch(manifests)
    known: str | None = None
    first = True
    while not stop.is_set():
        secret = watch.secret(key, manifests.tree.signature(key))
        version = None if secret is None else secret.resource_version
        if first or version != known:
            yield secret
        known, first = version, False
        stop.wait(poll)
