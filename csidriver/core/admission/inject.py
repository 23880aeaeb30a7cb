"""Adds the volumes and mounts to a pod that its annotation asks for.

It does not check that the Secret exists: users may create Secret and pod in any order.
"""

import copy
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from csidriver.core.admission.annotation import MOUNT_FOLDER, InjectionEntry, parse, quoted
from csidriver.core.annotations import TO_INJECT
from csidriver.errors import InvalidAnnotation, InvalidRequest

# kube-apiserver may cut what exceeds 256 characters each and 4096 in all.
_LONGEST_WARNING = 256
_MOST_WARNINGS = 16
_MORE_WARNINGS = "further warnings are left out"

# Mounted read-only whatever the mount says.
_READ_ONLY_VOLUMES = ("configMap", "downwardAPI", "projected", "secret")

# Every entry is compared with every container, volume and mount. No pod comes near; the API server
# itself looks at a pod only after admission, and others wait meanwhile.
_MOST_COMPARED = 50_000


@dataclass(frozen=True, slots=True)
class Injection:
    """A pod as it shall be created, and what its author should know."""

    pod: dict[str, Any]
    warnings: tuple[str, ...]


def inject(pod: Mapping[str, Any]) -> Injection:
    """A copy of the pod with the volumes and mounts its annotation asks for; idempotent.

    Raises:
        InvalidAnnotation: with all faults of the annotation and of the pod it does not fit.
        InvalidRequest: this does not have the shape of a pod.
    """
    result = copy.deepcopy(dict(pod))
    annotation = _object(_object(result, "metadata"), "annotations").get(TO_INJECT)
    if annotation is None:
        return Injection(result, ())
    if not isinstance(annotation, str):
        raise InvalidRequest("pod", [f"annotation {TO_INJECT} is not a string"])
    reading = parse(annotation)
    spec = _object(result, "spec")
    if (compared := len(reading.entries) * _complexity(spec)) > _MOST_COMPARED:
        problem = f"entries times containers, volumes and mounts of the pod are {compared}"
        limit = f"{_MOST_COMPARED} are allowed"
        raise InvalidAnnotation(f"annotation {TO_INJECT}", [f"{problem}, at most {limit}"])
    problems, warnings = list(reading.problems), list(reading.warnings)
    taken: dict[tuple[int, int], str] = {}
    # All seats are chosen before anything is mounted: a mount says where an entry sits.
    for entry, container in [(entry, _target_container(entry, spec)) for entry in reading.entries]:
        if container is None:
            problems.append(_unknown_container(entry, spec))
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
    """The container an entry goes to.

    A name the pod does not have means its only container (the announcement's own EOS pod has
    that slip), and still that one after another webhook has added a sidecar next to it.
    """
    everyone, mount = _containers(spec), entry.mount
    named = [one for one in everyone if one.get("name") == entry.container]
    holding = [one for one in everyone if mount in _mounts(one)]
    lone = [] if _objects(spec, "initContainers") else everyone
    candidates = named[:1] or holding or lone
    return candidates[0] if len(candidates) == 1 else None


def _unknown_container(entry: InjectionEntry, spec: dict[str, Any]) -> str:
    names = ", ".join(quoted(one.get("name")) for one in _containers(spec))
    unknown = quoted(entry.container)
    return f"{entry.label}: the pod has no container {unknown}; name one of: {names}"


def _add_volume_and_mount(
    entry: InjectionEntry, spec: dict[str, Any], container: dict[str, Any]
) -> Iterator[str]:
    """Add volume and mount where they are not there yet; yield what stands in their place."""
    volume, mount = entry.volume, entry.mount
    volumes, mounts = _objects(spec, "volumes"), _mounts(container)
    if volume not in volumes:
        if any(other.get("name") == volume["name"] for other in volumes):
            yield f"{entry.label}: the pod has another volume {volume['name']}; rename that one"
        spec["volumes"] = [*volumes, volume]
    if mount not in mounts:
        path = mount["mountPath"]
        devices = [one.get("devicePath") for one in _objects(container, "volumeDevices")]
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
    # The runtime makes the mount point: a file in the image, or in what is mounted on its folder.
    here = {str(one.get("name")): one for one in _mounts(container) if _path(one) == MOUNT_FOLDER}
    others = [one for one in _containers(spec) if one is not container]
    shared = {str(mount.get("name")) for one in others for mount in _mounts(one)}
    for volume in _objects(spec, "volumes"):
        if (name_of_volume := str(volume.get("name"))) not in here:
            continue
        shown = quoted(name_of_volume)
        fixed = any(volume.get(kind) is not None for kind in _READ_ONLY_VOLUMES)
        if fixed or here[name_of_volume].get("readOnly"):
            yield (
                f"container {name} mounts {shown} on {MOUNT_FOLDER} read-only; "
                f"it cannot start unless there is a file {entry.file_name} in it"
            )
        elif volume.get("emptyDir") is not None and name_of_volume in shared:
            yield (
                f"container {name} shares its {MOUNT_FOLDER}, emptyDir {shown}, "
                f"with other containers; they will see an empty file {entry.file_name} there"
            )


def _truncate(warnings: list[str]) -> tuple[str, ...]:
    """The warnings within what kube-apiserver passes on."""
    cut = [text[:_LONGEST_WARNING] for text in warnings]
    if len(cut) > _MOST_WARNINGS:
        cut = [*cut[: _MOST_WARNINGS - 1], _MORE_WARNINGS]
    return tuple(cut)


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return _objects(spec, "containers") + _objects(spec, "initContainers")


def _complexity(spec: dict[str, Any]) -> int:
    """How many things there are that an entry is compared with."""
    everyone = _containers(spec)
    mounts = sum(len(_mounts(one)) + len(_objects(one, "volumeDevices")) for one in everyone)
    return len(everyone) + len(_objects(spec, "volumes")) + mounts


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
    """The mount's path the way the container runtime sees it."""
    return posixpath.normpath("/" + str(mount.get("mountPath")).lstrip("/"))
