"""Warnings about the mount point of a token file.

The container runtime makes it, an empty file, in the image or in a volume on its folder.
"""

from collections.abc import Iterator
from typing import Any

from csidriver.core.admission.annotation import MOUNT_FOLDER, InjectionEntry, quoted
from csidriver.core.admission.pod_fields import containers_of, mounts_of, objects_of, path_of

# Volumes that are read-only whatever the mount says.
_READ_ONLY_VOLUMES = ("configMap", "downwardAPI", "projected", "secret")


def mount_point_warnings(
    entry: InjectionEntry, spec: dict[str, Any], container: dict[str, Any]
) -> Iterator[str]:
    """Yield what the volumes of a container do to the mount point of an entry, and to others."""
    name = quoted(container.get("name"))
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
