"""Fields of a pod; a field is empty if absent or null, and an error if of a wrong type."""

import posixpath
from typing import Any

from csidriver.errors import InvalidRequest


def object_of(holder: dict[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest("pod", [f"{key} is not an object"])
    return value or {}


def objects_of(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidRequest("pod", [f"{key} is not a list of objects"])
    return value


def containers_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return objects_of(spec, "containers") + objects_of(spec, "initContainers")


def mounts_of(container: dict[str, Any]) -> list[dict[str, Any]]:
    return objects_of(container, "volumeMounts")


def path_of(mount: dict[str, Any]) -> str:
    """Return the path of a mount or device as the container runtime reads it."""
    path = str(mount.get("mountPath") or mount.get("devicePath"))
    return posixpath.normpath("/" + path.lstrip("/"))


def paths_of(container: dict[str, Any]) -> list[str]:
    return [path_of(each) for each in mounts_of(container) + objects_of(container, "volumeDevices")]
