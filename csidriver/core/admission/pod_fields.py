"""Fields of a pod; a field is empty if absent or null, and an error if of a wrong type."""

import posixpath
from dataclasses import dataclass
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


def text_of(holder: dict[str, Any], key: str) -> str:
    value = holder.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest("pod", [f"{key} is not a string"])
    return value or ""


def mounts_of(container: dict[str, Any]) -> list[dict[str, Any]]:
    return objects_of(container, "volumeMounts")


def paths_of(container: dict[str, Any]) -> list[str]:
    """Return the paths of mounts and devices, as they are written."""
    devices = objects_of(container, "volumeDevices")
    return [
        text_of(each, "mountPath") or text_of(each, "devicePath")
        for each in mounts_of(container) + devices
    ]


def normalised(path: str) -> str:
    """Return a path of a mount or device as the container runtime reads it."""
    return posixpath.normpath("/" + path.lstrip("/"))


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """A container and its name; its paths, normalised once; and its mounts by their effects."""

    fields: dict[str, Any]
    name: str
    paths: frozenset[str]
    mounts: dict[tuple[str, str, str], dict[str, Any]]

    @classmethod
    def read(cls, fields: dict[str, Any]) -> "Container":
        paths, mounts = [normalised(path) for path in paths_of(fields)], mounts_of(fields)
        placed = {effect_of(*each): each[1] for each in zip(paths, mounts, strict=False)}
        return cls(fields, text_of(fields, "name"), frozenset(paths), placed)


def effect_of(path: str, mount: dict[str, Any]) -> tuple[str, str, str]:
    """Return what tells our mounts from others; read-only they are by their volume as well."""
    return path, text_of(mount, "name"), text_of(mount, "subPath")
