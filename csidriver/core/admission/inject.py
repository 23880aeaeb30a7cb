"""The injection of volumes and mounts into an annotated pod.

The Secret need not exist yet: users may create Secret and pod in any order.
"""

import copy
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from csidriver.core.admission.annotation import MOUNT_FOLDER, InjectionEntry, parse, quoted
from csidriver.core.annotations import TO_INJECT
from csidriver.errors import InvalidAnnotation, InvalidRequest

# kube-apiserver may cut warnings above 256 characters each and 4096 in all.
_LONGEST_WARNING = 256
_MOST_WARNINGS = 16
_MORE_WARNINGS = "further warnings are left out"

# Volumes that are read-only whatever the mount says.
_READ_ONLY_VOLUMES = ("configMap", "downwardAPI", "projected", "secret")

# Every entry is compared with every container, volume and mount. No pod comes near; the API server
# checks a pod only after admission.
_MOST_COMPARED = 50_000


@dataclass(frozen=True, slots=True)
class Injection:
    """The changed pod, and warnings for its author."""

    pod: dict[str, Any]
    warnings: tuple[str, ...]


def inject(pod: Mapping[str, Any]) -> Injection:
    """Return a copy of the pod with the volumes and mounts that its annotation asks for.

    The result of a second call is the same. Raises InvalidAnnotation with all problems, and
    InvalidRequest if this is not a pod.
    """
    result = copy.deepcopy(dict(pod))
    annotation = _object(_object(result, "metadata"), "annotations").get(TO_INJECT)
    if annotation is None:
        return Injection(result, ())
    if not isinstance(annotation, str):
        raise InvalidRequest("pod", [f"annotation {TO_INJECT} is not a string"])
    parsed = parse(annotation)
    spec = _object(result, "spec")
    count = len(parsed.entries) + len(parsed.invalid_entries)
    if (compared := count * _complexity(spec)) > _MOST_COMPARED:
        problem = f"entries times containers, volumes and mounts of the pod are {compared}"
        limit = f"{_MOST_COMPARED} are allowed"
        raise InvalidAnnotation(f"annotation {TO_INJECT}", [f"{problem}, at most {limit}"])
    problems = [*parsed.problems, *_unknown_containers(parsed.invalid_entries, spec)]
    warnings = list(parsed.warnings)
    taken: dict[tuple[int, int], str] = {}
    # All containers are chosen before the first mount is added, because the choice reads mounts.
    for entry, container in [(entry, _target_container(entry, spec)) for entry in parsed.entries]:
        if container is None:
            problems.append(_unknown_container(entry.label, entry.container, spec))
            continue
        first = taken.setdefault((id(container), entry.owner), entry.label)
        if first != entry.label:
            where = f"{entry.mount['mountPath']} in container {quoted(container.get('name'))}"
            problems.append(f"{entry.label}: {where} is taken by {first}; remove one of the two")
            continue
        problems += _add_volume_and_mount(entry, spec, container)
        warnings += _warnings(entry, spec, container)
    if problems:
        raise InvalidAnnotation(f"annotation {TO_INJECT}", problems)
    return Injection(result, _truncate(warnings))


def _target_container(entry: InjectionEntry, spec: dict[str, Any]) -> dict[str, Any] | None:
    """Return the container of an entry.

    An unknown name means the only container of the pod, as in the announced EOS example, even if
    another webhook has added a sidecar since our mount was added.
    """
    mount = entry.mount
    candidates = _named_or_only(entry.container, spec) or [
        container for container in _containers(spec) if mount in _mounts(container)
    ]
    return candidates[0] if len(candidates) == 1 else None


def _named_or_only(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a list of the container of this name, or of the pod's only one; it may be empty."""
    containers = _containers(spec)
    named = [container for container in containers if container.get("name") == name]
    has_only = len(containers) == 1 and not _objects(spec, "initContainers")
    return named[:1] or (containers if has_only else [])


def _unknown_containers(entries: Iterable[tuple[str, str]], spec: dict[str, Any]) -> Iterator[str]:
    for label, name in entries:
        if not _named_or_only(name, spec):
            yield _unknown_container(label, name, spec)


def _unknown_container(label: str, name: str, spec: dict[str, Any]) -> str:
    names = ", ".join(quoted(container.get("name")) for container in _containers(spec))
    return f"{label}: the pod has no container {quoted(name)}; name one of: {names}"


def _add_volume_and_mount(
    entry: InjectionEntry, spec: dict[str, Any], container: dict[str, Any]
) -> Iterator[str]:
    """Add volume and mount unless they are there; yield what is in their place."""
    volume, mount = entry.volume, entry.mount
    volumes, mounts = _objects(spec, "volumes"), _mounts(container)
    if volume not in volumes:
        if any(other.get("name") == volume["name"] for other in volumes):
            yield f"{entry.label}: the pod has another volume {volume['name']}; rename that one"
        spec["volumes"] = [*volumes, volume]
    if mount not in mounts:
        path = mount["mountPath"]
        devices = [device.get("devicePath") for device in _objects(container, "volumeDevices")]
        if any(_path(other) == path for other in mounts) or path in devices:
            name = quoted(container.get("name"))
            yield f"{entry.label}: container {name} has a mount of its own at {path}; move that one"
        container["volumeMounts"] = [*mounts, mount]


def _warnings(
    entry: InjectionEntry, spec: dict[str, Any], container: dict[str, Any]
) -> Iterator[str]:
    name = quoted(container.get("name"))
    if container.get("name") != entry.container:
        yield (
            f"{entry.label}: the pod has no container {quoted(entry.container)}, "
            f"the token goes to {name}; correct the annotation"
        )
    # The runtime creates the mount point, a file, in the image or in a volume on its folder.
    on_folder = {
        str(mount.get("name")): mount
        for mount in _mounts(container)
        if _path(mount) == MOUNT_FOLDER
    }
    others = [other for other in _containers(spec) if other is not container]
    shared = {str(mount.get("name")) for other in others for mount in _mounts(other)}
    for volume in _objects(spec, "volumes"):
        volume_name = str(volume.get("name"))
        if volume_name not in on_folder:
            continue
        read_only = any(volume.get(source) is not None for source in _READ_ONLY_VOLUMES)
        if read_only or on_folder[volume_name].get("readOnly"):
            yield (
                f"container {name} mounts {quoted(volume_name)} on {MOUNT_FOLDER} read-only; "
                f"it cannot start unless there is a file {entry.file_name} in it"
            )
        elif volume.get("emptyDir") is not None and volume_name in shared:
            yield (
                f"container {name} shares its {MOUNT_FOLDER}, emptyDir {quoted(volume_name)}, "
                f"with other containers; they will see an empty file {entry.file_name} there"
            )


def _truncate(warnings: list[str]) -> tuple[str, ...]:
    cut = [text[:_LONGEST_WARNING] for text in warnings]
    if len(cut) > _MOST_WARNINGS:
        cut = [*cut[: _MOST_WARNINGS - 1], _MORE_WARNINGS]
    return tuple(cut)


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return _objects(spec, "containers") + _objects(spec, "initContainers")


def _complexity(spec: dict[str, Any]) -> int:
    containers = _containers(spec)
    mounts = sum(len(_mounts(each)) + len(_objects(each, "volumeDevices")) for each in containers)
    return len(containers) + len(_objects(spec, "volumes")) + mounts


def _object(holder: dict[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest("pod", [f"{key} is not an object"])
    return value or {}


def _mounts(container: dict[str, Any]) -> list[dict[str, Any]]:
    return _objects(container, "volumeMounts")


def _objects(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidRequest("pod", [f"{key} is not a list of objects"])
    return value


def _path(mount: dict[str, Any]) -> str:
    # As the container runtime reads it.
    return posixpath.normpath("/" + str(mount.get("mountPath")).lstrip("/"))
