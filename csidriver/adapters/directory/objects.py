"""Changes of manifests as kube-apiserver makes them.

These functions never modify their arguments; results share parts with them.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from csidriver.core.kubernetes.event import Event
from csidriver.errors import StoreRefused


def normalize(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form that an API server stores: `stringData` merged, nothing empty, no version."""
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
    """Apply a JSON merge patch (RFC 7396)."""
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


def event_name(event: Event) -> str:
    """Return the same name for a repetition; the topic is hashed, as it may be no valid name."""
    name = f"{event.ref.name}.{event.reason.lower()}"
    topic = hashlib.sha256(event.topic.encode()).hexdigest()[:16]
    return f"{name}.{topic}" if event.topic else name


def event_manifest(stored: Mapping[str, Any] | None, event: Event, now: str) -> dict[str, Any]:
    """Return the manifest of an Event at `now` (RFC 3339), or of its repetition."""
    manifest = event.to_manifest(event_name(event), now)
    if stored is None:
        return manifest
    return manifest | {
        "firstTimestamp": stored["firstTimestamp"],
        "count": stored["count"] + 1,
    }


def guard_immutable(stored: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """Raise StoreRefused for a change of content that `immutable: true` forbids."""
    content = ("data", "binaryData", "immutable")
    if stored.get("immutable") is True and any(stored.get(k) != changed.get(k) for k in content):
        raise StoreRefused(f"{changed['metadata']['name']} is immutable")


def with_manager(manifest: Mapping[str, Any], manager: str, now: str) -> dict[str, Any]:
    """Record `manager` as a writer at `now` (RFC 3339)."""
    metadata = manifest["metadata"]
    others = [e for e in metadata.get("managedFields", []) if e.get("manager") != manager]
    entry = {"manager": manager, "operation": "Update", "time": now}
    return {**manifest, "metadata": metadata | {"managedFields": [*others, entry]}}


def without_manager(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Remove all writers, to compare what they wrote."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "managedFields"}
    return {**manifest, "metadata": metadata}


def _without_empty(fields: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value or key not in keys}
