"""A store of Secrets, ConfigMaps and Events in YAML files that behaves like kube-apiserver.

For `make demo`, development and tests: any number of processes may share one root.
"""

import threading
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from csidriver.adapters.directory import objects, polling_watch
from csidriver.adapters.directory.object_files import ObjectFiles
from csidriver.core.kubernetes.change import FindOwnWrite, Namespaces, SecretChange
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import FIELD_MANAGER
from csidriver.errors import StoreConflict


class DirectoryStore:
    """The backend in a folder. Watches poll every `poll` seconds, and only `namespaces`.

    Every method may raise StoreUnavailable, and StoreRefused for names that are not valid.
    """

    def __init__(
        self, root: Path, *, poll: float = 0.05, namespaces: Namespaces | None = None
    ) -> None:
        self.files = ObjectFiles(root)
        self._poll = poll
        self._namespaces = namespaces or Namespaces()

    def get_secret(self, namespace: str, name: str) -> Secret | None:
        return self.files.secret(self.files.path(namespace, "Secret", name))

    def get_namespace_uid(self, namespace: str) -> str:
        with self.files.locked():
            return self.files.namespace_uid(namespace)

    def create_secret(self, secret: Secret) -> Secret:
        """Store a new Secret, creating its namespace; raises StoreConflict if it exists."""
        path = self.files.path(secret.namespace, "Secret", secret.name)
        with self.files.locked():
            if self.files.load(path) is not None:
                raise StoreConflict(f"Secret {secret.name} exists")
            return Secret.from_manifest(
                self.put(path, None, secret.to_manifest(), secret.namespace, FIELD_MANAGER)
            )

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        """Change a Secret; raises StoreConflict if `base` is outdated.

        Raises StoreRefused for a change of the data of an immutable Secret.
        """
        path = self.files.path(base.namespace, "Secret", base.name)
        body = patch.to_merge_patch(base.resource_version)
        with self.files.locked():
            stored = self._load_unchanged(path, base)
            if stored is None:
                raise StoreConflict(f"Secret {base.name} does not exist")
            changed = objects.merge_patch(stored, body)
            return Secret.from_manifest(
                self.put(path, stored, changed, base.namespace, FIELD_MANAGER)
            )

    def delete_secret(self, base: Secret) -> None:
        path = self.files.path(base.namespace, "Secret", base.name)
        with self.files.locked():
            if self._load_unchanged(path, base) is not None:
                self.files.unlink(path)

    def list_secrets(self, namespace: str, type: str) -> Iterator[Secret]:  # noqa: A002 - its name
        for path in self.files.secrets():
            secret = self.files.secret(path) if path.parent.name == namespace else None
            if secret is not None and secret.type == type:
                yield secret

    def watch_changes(
        self, stop: threading.Event, _find_own: FindOwnWrite | None = None
    ) -> Generator[SecretChange | None, None, None]:
        return polling_watch.watch_changes(self.files, self._namespaces, stop, poll=self._poll)

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        path = self.files.path(namespace, "Secret", name)
        return polling_watch.watch_secret(self.files, path, stop, poll=self._poll)

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        stored = self.files.load(self.files.path(namespace, "ConfigMap", name))
        return None if stored is None else dict(stored.get("data") or {})

    def patch_config_map(self, namespace: str, name: str, data: Mapping[str, str | None]) -> None:
        """Set keys of a ConfigMap, which no manifests bring there."""
        identity = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        self._merge(identity | {"data": data}, namespace, FIELD_MANAGER)

    def create_event(self, event: Event) -> None:
        path = self.files.path(event.ref.namespace, "Event", objects.event_name(event))
        with self.files.locked():
            stored = self.files.load(path)
            manifest = objects.event_manifest(stored, event, format_rfc3339(time.time()))
            self.put(path, stored, manifest, event.ref.namespace, FIELD_MANAGER)

    def apply(self, manifest: Mapping[str, Any], namespace: str) -> None:
        """Set the fields of a user's manifest; others stay."""
        self._merge(manifest, namespace, "kubectl-client-side-apply")

    def put(
        self,
        path: Path,
        stored: Mapping[str, Any] | None,
        manifest: Mapping[str, Any],
        namespace: str,
        manager: str,
    ) -> dict[str, Any]:
        """Write an object in place of `stored`, with the lock held, as a server would.

        Without a change its version stays.
        """
        now = format_rfc3339(time.time())
        metadata = {"namespace": namespace, **manifest["metadata"]}
        if stored is None:
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
        changed = objects.normalize({**manifest, "metadata": metadata})
        if stored is not None:
            before = objects.normalize(stored)
            objects.guard_immutable(before, changed)
            if objects.without_manager(before) == objects.without_manager(changed):
                return dict(stored)
        return self.files.store(path, objects.with_manager(changed, manager, now))

    def _merge(self, patch: Mapping[str, Any], namespace: str, manager: str) -> None:
        path = self.files.path(namespace, patch["kind"], patch["metadata"]["name"])
        with self.files.locked():
            stored = self.files.load(path)
            changed = objects.merge_patch(stored or {}, patch)
            self.put(path, stored, changed, namespace, manager)

    def _load_unchanged(self, path: Path, base: Secret) -> dict[str, Any] | None:
        stored = self.files.load(path)
        if stored is not None and stored["metadata"]["resourceVersion"] != base.resource_version:
            raise StoreConflict(f"Secret {base.name} has changed")
        return stored
