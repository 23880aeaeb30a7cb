"""JSONPatch (RFC 6902) for documents that only grow."""

from collections.abc import Mapping
from typing import Any


def patch(before: Any, after: Any, path: str = "") -> list[dict[str, Any]]:
    """Return the add and replace operations that turn `before` into `after`.

    A value that was absent or null is added whole. Appending to an absent array is an error, with
    which the API server rejects the pod whatever the failure policy is.
    """
    if before == after:
        return []
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before.keys() <= after.keys():
        return [
            operation
            for key, new in after.items()
            if key not in before or before[key] != new
            for operation in _set(before.get(key), new, f"{path}/{_escaped(key)}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) <= len(after):
        pairs = enumerate(zip(before, after, strict=False))
        kept = [step for n, (old, new) in pairs for step in patch(old, new, f"{path}/{n}")]
        return kept + [_add(f"{path}/-", new) for new in after[len(before) :]]
    return [{"op": "replace", "path": path, "value": after}]


def _set(old: Any, new: Any, path: str) -> list[dict[str, Any]]:
    return [_add(path, new)] if old is None else patch(old, new, path)


def _add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
