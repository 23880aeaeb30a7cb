"""Secrets, ConfigMaps and Events kept as YAML files, with a kube-apiserver's manners.

For `make demo`, development and tests: as many processes as like share one root. A file that is
not fit counts as absent, but nothing the driver does overwrites or removes it; that is for people.
"""

import threading
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from csidriver.adapters.directory import objects, polling_watch
from csidriver.adapters.directory.manifest import validated
from csidriver.adapters.directory.manifest_files import ManifestFiles, StoredObject
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.kubernetes.change import Namespaces, SecretChange
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import FIELD_MANAGER
from csidriver.errors import StoreConflict, StoreRefused


class DirectoryStore:
    """The backend in a folder; `poll` is the time between two looks of a watch, in seconds.

    `places` says which Secrets a watch tells of. Every method may raise StoreUnavailable, and
    StoreRefused for names no Kubernetes would take.
    """

    def __init__(
        self, root: Path, *, poll: float = 0.05, namespaces: Namespaces | None = None
    ) -> None:
        self._manifests = ManifestFiles(root)
        self._poll = poll
        self._namespaces = namespaces or Namespaces()

    def get_secret(self, namespace: str, name: str) -> Secret | None:
        """The Secret, None if there is none."""
        stored = self._manifests.load(ObjectKey.of(namespace, "Secret", name))
        return None if stored is None else stored.secret

    def create_secret(self, secret: Secret) -> Secret:
        """Store a new Secret; raises StoreConflict if it exists. Namespaces come into being."""
        slot = ObjectKey.of(secret.namespace, "Secret", secret.name)
        with self._manifests.tree.locked():
            if self._manifests.load(slot) is not None:
                raise StoreConflict(f"{slot.path} exists")
            if self._manifests.tree.signature(slot) is not None:
                raise StoreRefused(f"{slot.path} exists but is not fit to be read")
            return self._put(None, secret.to_manifest(), slot, FIELD_MANAGER).secret

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        """Change a Secret; raises StoreConflict unless it is still the one in `base`.

        All that the patch does not name stays as it is. Raises StoreRefused for a change of the
        data of an immutable Secret.
        """
        slot = ObjectKey.of(base.namespace, "Secret", base.name)
        body = patch.to_merge_patch(base.resource_version)
        with self._manifests.tree.locked():
            stored = self._load_unchanged(slot, base)
            if stored is None:
                raise StoreConflict(f"{slot.path} is gone")
            changed = objects.merge_patch(objects.normalize(stored.manifest), body)
            return self._put(stored, changed, slot, FIELD_MANAGER).secret

    def delete_secret(self, base: Secret) -> None:
        """Remove a Secret, absent is fine; raises StoreConflict if it is not the one in `base`."""
        slot = ObjectKey.of(base.namespace, "Secret", base.name)
        with self._manifests.tree.locked():
            if self._load_unchanged(slot, base) is not None:
                self._manifests.tree.unlink(slot)

    def list_secrets(self, namespace: str, type: str) -> Iterator[Secret]:  # noqa: A002 - its name
        """All Secrets of one type in a namespace, by name."""
        ObjectKey.of(namespace, "Secret", "any")
        slots = [
            ObjectKey.from_file(namespace, file) for file in self._manifests.tree.files(namespace)
        ]
        for slot in sorted(s for s in slots if s is not None and s.kind == "secret"):
            stored = self._manifests.load(slot)
            if stored is not None and stored.secret.type == type:
                yield stored.secret

    def watch_changes(self, stop: threading.Event) -> Generator[SecretChange | None, None, None]:
        """All sources, grants and companions, None, and then their changes, until `stop`."""
        return polling_watch.watch_changes(self._manifests, self._namespaces, stop, poll=self._poll)

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        """One Secret as it is (None while absent), then every change of it, until `stop`."""
        slot = ObjectKey.of(namespace, "Secret", name)
        return polling_watch.watch_secret(self._manifests, slot, stop, poll=self._poll)

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The texts of a ConfigMap, None if there is none."""
        stored = self._manifests.load(ObjectKey.of(namespace, "ConfigMap", name))
        return None if stored is None else dict(stored.manifest.get("data") or {})

    def create_event(self, event: Event) -> None:
        """Record an Event, or count one more of it."""
        slot = ObjectKey.of(event.ref.namespace, "Event", objects.event_name(event))
        with self._manifests.tree.locked():
            stored = self._manifests.load(slot)
            before = None if stored is None else stored.manifest
            written = objects.event_manifest(before, event, format_rfc3339(time.time()))
            self._put(stored, written, slot, FIELD_MANAGER)

    def apply(
        self,
        manifest: Mapping[str, Any],
        namespace: str,
        manager: str = "kubectl-client-side-apply",
    ) -> None:
        """What `kubectl apply` does, to an object of any kind."""
        copy, slot = validated(manifest, namespace)
        with self._manifests.tree.locked():
            stored = self._manifests.load(slot)
            before = None if stored is None else objects.normalize(stored.manifest)
            self._put(stored, objects.kubectl_apply(before, copy), slot, manager)

    def replace(
        self, manifest: Mapping[str, Any], namespace: str, manager: str = "kubectl-replace"
    ) -> None:
        """What `kubectl replace` does, to an object of any kind; StoreConflict if it is absent."""
        copy, slot = validated(manifest, namespace)
        with self._manifests.tree.locked():
            stored = self._manifests.load(slot)
            if stored is None:
                raise StoreConflict(f"{slot.path} is gone")
            self._put(stored, objects.kubectl_replace(stored.manifest, copy), slot, manager)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """What `kubectl delete` does, to an object of any kind, fit or not; absent is fine."""
        slot = ObjectKey.of(namespace, kind, name)
        with self._manifests.tree.locked():
            self._manifests.tree.unlink(slot)

    def _load_unchanged(self, slot: ObjectKey, base: Secret) -> StoredObject | None:
        stored = self._manifests.load(slot)
        if stored is not None and stored.version != base.resource_version:
            raise StoreConflict(f"{slot.path} has changed")
        return stored

    def _put(
        self, stored: StoredObject | None, written: Mapping[str, Any], slot: ObjectKey, manager: str
    ) -> StoredObject:
        """Write an object as its server would; one that does not change keeps its version."""
        now = format_rfc3339(time.time())
        own = {"namespace": slot.namespace, **written["metadata"]}
        if stored is None:
            own |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
        changed = objects.normalize({**written, "metadata": own})
        if stored is not None:
            before = objects.normalize(stored.manifest)
            objects.guard_immutable(before, changed)
            if objects.without_manager(before) == objects.without_manager(changed):
                return stored
        return self._manifests.store(slot, objects.with_manager(changed, manager, now))
