"""What a write makes of a stored manifest, as a kube-apiserver and kubectl would have it. Pure.

Manifests given to these functions are never altered; results share parts with them.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from csidriver.core.kubernetes.event import Event
from csidriver.core.names import FIELD_MANAGER
from csidriver.errors import StoreRefused

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SERVER_FIELDS = ("uid", "creationTimestamp", "managedFields", "resourceVersion")


def normalize(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The form in which an API server keeps it: `stringData` folded, nothing empty, no version."""
    metadata = dict(manifest["metadata"])
    metadata.pop("resourceVersion", None)
    result = {**manifest, "metadata": _without_empty(metadata, "annotations", "labels")}
    if str(result["kind"]).lower() == "secret":
        texts = result.pop("stringData", None) or {}
        data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        result["data"] = (result.get("data") or {}) | data
        result = _without_empty(result, "data")
    return result


def merge_patch(manifest: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396, a JSON merge patch applied."""
    result = dict(manifest)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            old = result.get(key)
            result[key] = merge_patch(old if isinstance(old, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def kubectl_apply(stored: Mapping[str, Any] | None, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """`kubectl apply`: what the manifest says, without what it no longer says; the rest stays."""
    manifest = _without_server_fields(manifest)
    text = json.dumps(manifest, separators=(",", ":"))
    patch = merge_patch(manifest, {"metadata": {"annotations": {LAST_APPLIED: text}}})
    if stored is None:
        return merge_patch({}, patch)
    # Compared with the patch, which always has annotations: those of others must not go when the
    # manifest has no annotations any more.
    return merge_patch(merge_patch(stored, _removals(_last_applied(stored), patch)), patch)


def kubectl_replace(stored: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """`kubectl replace`: the manifest, with what only a server may set kept from before."""
    kept = {k: v for k, v in stored["metadata"].items() if k in _SERVER_FIELDS}
    return merge_patch(_without_server_fields(manifest), {"metadata": kept})


def event_name(event: Event) -> str:
    """Equal for what is the same again; a topic may hold what no name of an object may."""
    name = f"{event.ref.name}.{event.reason.lower()}"
    topic = hashlib.sha256(event.topic.encode()).hexdigest()[:16]
    return f"{name}.{topic}" if event.topic else name


def event_manifest(stored: Mapping[str, Any] | None, event: Event, now: str) -> dict[str, Any]:
    """The manifest of an Event that was told `now` (RFC 3339): the first, or one more of it."""
    about = event.object_reference
    before = stored if stored is not None and stored.get("involvedObject") == about else {}
    count = before.get("count")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": event_name(event)},
        "involvedObject": about,
        "reason": event.reason,
        "message": event.message,
        "type": "Normal" if event.normal else "Warning",
        "source": {"component": FIELD_MANAGER},
        "firstTimestamp": before.get("firstTimestamp", now),
        "lastTimestamp": now,
        "count": count + 1 if isinstance(count, int) else 1,
    }


def guard_immutable(stored: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """Raises StoreRefused for a change of content that `immutable: true` forbids."""
    content = ("data", "binaryData", "immutable")
    if stored.get("immutable") is True and any(stored.get(k) != changed.get(k) for k in content):
        raise StoreRefused(f"{changed['metadata']['name']} is immutable")


def with_manager(manifest: Mapping[str, Any], manager: str, now: str) -> dict[str, Any]:
    """With `manager` recorded as a writer at `now` (RFC 3339)."""
    metadata = manifest["metadata"]
    others = [e for e in metadata.get("managedFields", []) if e.get("manager") != manager]
    entry = {"manager": manager, "operation": "Update", "time": now}
    return {**manifest, "metadata": metadata | {"managedFields": [*others, entry]}}


def without_manager(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Without its writers: what decides whether a write changes anything."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "managedFields"}
    return {**manifest, "metadata": metadata}


def _without_server_fields(manifest: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in _SERVER_FIELDS}
    return {**manifest, "metadata": metadata}


def _without_empty(fields: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value or key not in keys}


def _last_applied(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    annotations = stored["metadata"].get("annotations") or {}
    try:
        last = json.loads(annotations.get(LAST_APPLIED, "{}"))
    except (ValueError, RecursionError):
        return {}
    return last if isinstance(last, dict) else {}


def _removals(last: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that takes away what was applied last time and is not in the manifest."""
    patch: dict[str, Any] = {}
    for key, value in last.items():
        if key not in manifest:
            patch[key] = None
        elif isinstance(value, dict) and isinstance(manifest[key], dict):
            patch[key] = _removals(value, manifest[key])
    return patch
