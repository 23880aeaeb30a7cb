"""Warnings about the mount point of a token file.

The container runtime makes it, an empty file, in the image or in a volume on its folder.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from csidriver.core.admission.annotation import MOUNT_FOLDER, InjectionEntry, quoted
from csidriver.core.admission.pod_fields import Container, objects_of, text_of
from csidriver.core.names import DRIVER_NAME

# Sources that are read-only whatever the mount says. All others are if their `readOnly` is true.
_READ_ONLY_SOURCES = frozenset({"configMap", "downwardAPI", "image", "projected", "secret"})
# Sources that only the containers of the pod see. The API server makes no source an emptyDir.
_POD_LOCAL_SOURCES = frozenset({"emptyDir", "ephemeral", "gitRepo"})


def mount_point_warnings(
    entry: InjectionEntry,
    spec: dict[str, Any],
    container: Container,
    containers: Iterable[Container],
) -> Iterator[str]:
    """Yield what the volumes of a container do to the mount point of an entry, and to others."""
    name = quoted(container.name)
    path = entry.mount["mountPath"]
    if any(other.startswith(f"{path}/") for other in container.paths):
        yield f"container {name} has a mount below the file {path}; it cannot start; move that one"
    mounts = container.mounts.items()
    on_folder = {volume: mount for (at, volume, _), mount in mounts if at == MOUNT_FOLDER}
    if not on_folder:
        return
    others = [other for other in containers if other is not container]
    shared = {volume for other in others for _, volume, _ in other.mounts}
    for volume in objects_of(spec, "volumes"):
        volume_name = text_of(volume, "name")
        if volume_name not in on_folder:
            continue
        if on_folder[volume_name].get("readOnly") or _is_read_only(volume):
            yield (
                f"container {name} mounts {quoted(volume_name)} on {MOUNT_FOLDER} read-only; "
                f"it cannot start unless there is a file {entry.file_name} in it"
            )
        elif not volume.keys() - {"name"} <= _POD_LOCAL_SOURCES:
            yield (
                f"container {name} mounts {quoted(volume_name)} on {MOUNT_FOLDER}; an empty file "
                f"{entry.file_name} stays in this volume, where other pods may find it"
            )
        elif volume_name in shared:
            yield (
                f"container {name} shares its {MOUNT_FOLDER}, volume {quoted(volume_name)}, "
                f"with other containers; they will see an empty file {entry.file_name} there"
            )


def _is_read_only(volume: dict[str, Any]) -> bool:
    sources = [source for source in volume.values() if isinstance(source, dict)]
    flags = [each.get("readOnly") or each.get("driver") == DRIVER_NAME for each in sources]
    return any(flags) or not _READ_ONLY_SOURCES.isdisjoint(volume)
