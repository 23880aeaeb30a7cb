"""The directory backend with `kubectl`: what users do to its objects."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from csidriver.adapters.directory import DirectoryStore, objects

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SERVER_FIELDS = ("uid", "creationTimestamp", "managedFields", "resourceVersion")


class KubectlStore(DirectoryStore):
    """Applies as kubectl does on the client's side, also fields that a manifest no longer has."""

    def apply(self, manifest: Mapping[str, Any], namespace: str) -> None:
        path = self._path(manifest, namespace)
        with self.files.locked():
            stored = self.files.load(path)
            changed = kubectl_apply(stored, manifest)
            self.put(path, stored, changed, namespace, "kubectl-client-side-apply")

    def replace(self, manifest: Mapping[str, Any], namespace: str) -> None:
        """Do what `kubectl replace` does; the object must exist."""
        path = self._path(manifest, namespace)
        with self.files.locked():
            stored = self.files.load(path)
            assert stored is not None
            self.put(path, stored, kubectl_replace(stored, manifest), namespace, "kubectl-replace")

    def remove(self, kind: str, namespace: str, name: str) -> None:
        with self.files.locked():
            self.files.unlink(self.files.path(namespace, kind, name))

    def edit(self, kind: str, namespace: str, name: str, change: Callable[[str], str]) -> None:
        """Change the text of an object behind everybody's back, at once."""
        path = self.files.path(namespace, kind, name)
        with self.files.locked():
            draft = path.with_name(".edited")
            draft.write_text(change(path.read_text("utf-8")), "utf-8")
            draft.replace(path)

    def _path(self, manifest: Mapping[str, Any], namespace: str) -> Path:
        return self.files.path(namespace, manifest["kind"], manifest["metadata"]["name"])


def kubectl_apply(stored: Mapping[str, Any] | None, manifest: Mapping[str, Any]) -> dict[str, Any]:
    manifest = _without_server_fields(manifest)
    text = json.dumps(manifest, separators=(",", ":"))
    patch = objects.merge_patch(manifest, {"metadata": {"annotations": {LAST_APPLIED: text}}})
    if stored is None:
        return objects.merge_patch({}, patch)
    # Compared with the patch, which always has annotations: if the manifest has none any more,
    # the annotations of other writers must stay.
    removals = _removals(_last_applied(stored), patch)
    return objects.merge_patch(objects.merge_patch(stored, removals), patch)


def kubectl_replace(stored: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of `kubectl replace`: fields that only a server may set stay."""
    kept = {k: v for k, v in stored["metadata"].items() if k in _SERVER_FIELDS}
    return objects.merge_patch(_without_server_fields(manifest), {"metadata": kept})


def _without_server_fields(manifest: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in _SERVER_FIELDS}
    return {**manifest, "metadata": metadata}


def _last_applied(stored: Mapping[str, Any]) -> dict[str, Any]:
    annotations = stored["metadata"].get("annotations") or {}
    last: dict[str, Any] = json.loads(annotations.get(LAST_APPLIED, "{}"))
    return last


def _removals(last: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch that removes fields of `last` that are not in the manifest."""
    patch: dict[str, Any] = {}
    for key, value in last.items():
        if key not in manifest:
            patch[key] = None
        elif isinstance(value, dict) and isinstance(manifest[key], dict):
            patch[key] = _removals(value, manifest[key])
    return patch
