"""A store of Secrets, ConfigMaps and Events in YAML files that behaves like kube-apiserver.

For `make demo`, development and tests: any number of processes may share one root. A file that is
not a valid manifest counts as absent, but the driver never overwrites or removes it.
"""

import threading
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from csidriver.adapters.directory import objects, polling_watch
from csidriver.adapters.directory.manifest_files import ManifestFiles, StoredObject
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.kubernetes.change import Namespaces, SecretChange
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import FIELD_MANAGER
from csidriver.errors import StoreConflict, StoreRefused


class DirectoryStore:
    """The backend in a folder. Watches poll every `poll` seconds, and only `namespaces`.

    Every method may raise StoreUnavailable, and StoreRefused for names that are not valid.
    """

    def __init__(
        self, root: Path, *, poll: float = 0.05, namespaces: Namespaces | None = None
    ) -> None:
        self._manifests = ManifestFiles(root)
        self._poll = poll
        self._namespaces = namespaces or Namespaces()

    def get_secret(self, namespace: str, name: str) -> Secret | None:
        stored = self._manifests.load(ObjectKey.of(namespace, "Secret", name))
        return None if stored is None else stored.secret

    def get_namespace_uid(self, namespace: str) -> str:
        ObjectKey.of(namespace, "Secret", "any")
        with self._manifests.tree.locked():
            return self._manifests.tree.uid(namespace)

    def create_secret(self, secret: Secret) -> Secret:
        """Store a new Secret, creating its namespace; raises StoreConflict if it exists."""
        key = ObjectKey.of(secret.namespace, "Secret", secret.name)
        with self._manifests.tree.locked():
            if self._manifests.load(key) is not None:
                raise StoreConflict(f"{key.path} exists")
            if self._manifests.tree.signature(key) is not None:
                raise StoreRefused(f"{key.path} exists but is not a valid manifest")
            return self._put(None, secret.to_manifest(), key, FIELD_MANAGER).secret

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        """Change a Secret; raises StoreConflict if `base` is outdated.

        Raises StoreRefused for a change of the data of an immutable Secret.
        """
        key = ObjectKey.of(base.namespace, "Secret", base.name)
        body = patch.to_merge_patch(base.resource_version)
        with self._manifests.tree.locked():
            stored = self._load_unchanged(key, base)
            if stored is None:
                raise StoreConflict(f"{key.path} does not exist")
            changed = objects.merge_patch(objects.normalize(stored.manifest), body)
            return self._put(stored, changed, key, FIELD_MANAGER).secret

    def delete_secret(self, base: Secret) -> None:
        key = ObjectKey.of(base.namespace, "Secret", base.name)
        with self._manifests.tree.locked():
            if self._load_unchanged(key, base) is not None:
                self._manifests.tree.unlink(key)

    def list_secrets(self, namespace: str, type: str) -> Iterator[Secret]:  # noqa: A002 - its name
        ObjectKey.of(namespace, "Secret", "any")
        files = self._manifests.tree.files(namespace)
        keys = [ObjectKey.from_file(namespace, file) for file in files]
        for key in sorted(k for k in keys if k is not None and k.kind == "secret"):
            stored = self._manifests.load(key)
            if stored is not None and stored.secret.type == type:
                yield stored.secret

    def watch_changes(self, stop: threading.Event) -> Generator[SecretChange | None, None, None]:
        return polling_watch.watch_changes(self._manifests, self._namespaces, stop, poll=self._poll)

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        key = ObjectKey.of(namespace, "Secret", name)
        return polling_watch.watch_secret(self._manifests, key, stop, poll=self._poll)

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        stored = self._manifests.load(ObjectKey.of(namespace, "ConfigMap", name))
        return None if stored is None else dict(stored.manifest.get("data") or {})

    def patch_config_map(self, namespace: str, name: str, data: Mapping[str, str | None]) -> None:
        """Set keys of a ConfigMap, which no manifests bring there."""
        key = ObjectKey.of(namespace, "ConfigMap", name)
        identity = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        self._merge(key, identity | {"data": data}, FIELD_MANAGER)

    def create_event(self, event: Event) -> None:
        key = ObjectKey.of(event.ref.namespace, "Event", objects.event_name(event))
        with self._manifests.tree.locked():
            stored = self._manifests.load(key)
            before = None if stored is None else stored.manifest
            manifest = objects.event_manifest(before, event, format_rfc3339(time.time()))
            self._put(stored, manifest, key, FIELD_MANAGER)

    def apply(self, manifest: Mapping[str, Any], namespace: str) -> None:
        """Set the fields of a user's manifest, as `kubectl apply` does; others stay."""
        key = ObjectKey.of(namespace, manifest["kind"], manifest["metadata"]["name"])
        self._merge(key, manifest, "kubectl-client-side-apply")

    def _merge(self, key: ObjectKey, patch: Mapping[str, Any], manager: str) -> None:
        with self._manifests.tree.locked():
            stored = self._manifests.load(key)
            before = {} if stored is None else objects.normalize(stored.manifest)
            self._put(stored, objects.merge_patch(before, patch), key, manager)

    def _load_unchanged(self, key: ObjectKey, base: Secret) -> StoredObject | None:
        stored = self._manifests.load(key)
        if stored is not None and stored.version != base.resource_version:
            raise StoreConflict(f"{key.path} has changed")
        return stored

    def _put(
        self, stored: StoredObject | None, manifest: Mapping[str, Any], key: ObjectKey, manager: str
    ) -> StoredObject:
        """Write an object as a server would; without a change, keep its version."""
        now = format_rfc3339(time.time())
        metadata = {"namespace": key.namespace, **manifest["metadata"]}
        if stored is None:
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
        changed = objects.normalize({**manifest, "metadata": metadata})
        if stored is not None:
            before = objects.normalize(stored.manifest)
            objects.guard_immutable(before, changed)
            if objects.without_manager(before) == objects.without_manager(changed):
                return stored
        return self._manifests.store(key, objects.with_manager(changed, manager, now))
