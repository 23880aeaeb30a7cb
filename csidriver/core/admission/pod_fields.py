"""Fields of a pod that its author and other webhooks wrote; a field of a wrong type is an error."""

import posixpath
from typing import Any

from csidriver.errors import InvalidRequest


def object_of(holder: dict[str, Any], key: str) -> dict[str, Any]:
    """Return an object, empty if it is absent or null."""
    value = holder.get(key)
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest("pod", [f"{key} is not an object"])
    return value or {}


def objects_of(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a list of objects, empty if it is absent or null."""
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidRequest("pod", [f"{key} is not a list of objects"])
    return value


def containers_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the containers and the init containers."""
    return objects_of(spec, "containers") + objects_of(spec, "initContainers")


def mounts_of(container: dict[str, Any]) -> list[dict[str, Any]]:
    return objects_of(container, "volumeMounts")


def path_of(mount: dict[str, Any]) -> str:
    """Return the mount path as the container runtime reads it."""
    return posixpath.normpath("/" + str(mount.get("mountPath")).lstrip("/"))
