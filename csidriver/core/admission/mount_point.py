"""Warnings about the mount point of a token file.

The container runtime makes it, an empty file, in the image or in a volume on its folder.
"""

from collections.abc import Iterator
from typing import Any

from csidriver.core.admission.annotation import MOUNT_FOLDER, InjectionEntry, quoted
from csidriver.core.admission.pod_fields import (
    containers_of,
    mounts_of,
    object_of,
    objects_of,
    path_of,
)
from csidriver.core.names import DRIVER_NAME

# Sources that are read-only whatever the mount says. All others are if their `readOnly` is true.
_READ_ONLY_SOURCES = frozenset({"configMap", "downwardAPI", "image", "projected", "secret"})
# Sources that only the containers of the pod see. The API server makes no source an emptyDir.
_POD_LOCAL_SOURCES = frozenset({"emptyDir", "ephemeral", "gitRepo"})


def mount_point_warnings(
    entry: InjectionEntry, spec: dict[str, Any], container: dict[str, Any]
) -> Iterator[str]:
    """Yield what the volumes of a container do to the mount point of an entry, and to others."""
    name = quoted(container.get("name"))
    path = entry.mount["mountPath"]
    devices = [str(each.get("devicePath")) for each in objects_of(container, "volumeDevices")]
    paths = [*map(path_of, mounts_of(container)), *devices]
    if below := [other for other in paths if other.startswith(f"{path}/")]:
        yield (
            f"container {name} has a mount at {quoted(below[0])}, below the file {path}; "
            "it cannot start; move that mount"
        )
    on_folder = {
        str(mount.get("name")): mount
        for mount in mounts_of(container)
        if path_of(mount) == MOUNT_FOLDER
    }
    others = [other for other in containers_of(spec) if other is not container]
    shared = {str(mount.get("name")) for other in others for mount in mounts_of(other)}
    for volume in objects_of(spec, "volumes"):
        volume_name = str(volume.get("name"))
        if volume_name not in on_folder:
            continue
        if on_folder[volume_name].get("readOnly") or _is_read_only(volume):
            yield (
                f"container {name} mounts {quoted(volume_name)} on {MOUNT_FOLDER} read-only; "
                f"it cannot start unless there is a file {entry.file_name} in it"
            )
        elif not _sources(volume).keys() <= _POD_LOCAL_SOURCES:
            yield (
                f"container {name} mounts {quoted(volume_name)} on {MOUNT_FOLDER}; an empty file "
                f"{entry.file_name} stays in this volume, where other pods may find it"
            )
        elif volume_name in shared:
            yield (
                f"container {name} shares its {MOUNT_FOLDER}, volume {quoted(volume_name)}, "
                f"with other containers; they will see an empty file {entry.file_name} there"
            )


def _sources(volume: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in volume.items() if key != "name" and value is not None}


def _is_read_only(volume: dict[str, Any]) -> bool:
    sources = _sources(volume)
    flags = [source.get("readOnly") for source in sources.values() if isinstance(source, dict)]
    is_ours = object_of(volume, "csi").get("driver") == DRIVER_NAME
    return is_ours or any(flags) or not _READ_ONLY_SOURCES.isdisjoint(sources)
