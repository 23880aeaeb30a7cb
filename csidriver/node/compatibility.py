"""Whether a published volume is the one that a later call means, and a target that volume's."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from csidriver.core.volume.attributes import VolumeAttributes
from csidriver.errors import PublishedDifferently
from csidriver.node.token_fs import folder_name
from csidriver.node.volume_record import VolumeRecord

# What a request says that says nothing. A driver of another version, which wrote the record, may
# have had other defaults: they are no difference, and neither are group and mode, whose defaults
# depend on the pod.
_DEFAULTS = VolumeAttributes.parse({"secretName": "any"}, "0")
# Of a target, below kubelet's folder of pods, where no symlink is allowed.
_OWN_PARTS = 5
_WORDS = {
    "file_name": "fileName",
    "owner": "owner",
    "template": "template",
    "template_config_map": "templateConfigMapName",
    "min_validity": "minValidity",
}


def check_same_request(published: VolumeRecord, wanted: VolumeRecord, *, bound: bool) -> None:
    """Whether `known` may stand for `wanted`; `shown` says that the wanted target shows it now.

    Nothing of an inline volume changes during the life of its pod, so kubelet never differs.

    Raises:
        PublishedDifferently: it names what differs, and no value.
    """
    differences = list(_differences(published, wanted))
    # One place may have several names: a symlink on the way to kubelet's folder.
    if not bound and os.path.realpath(published.target_path) != os.path.realpath(
        wanted.target_path
    ):
        differences.insert(0, "target_path")
    if differences:
        raise PublishedDifferently(
            f"the volume is published already with another {', '.join(differences)}; "
            "unpublish it first"
        )


def volumes_at_target(
    target: Path, real_target: str, bound: set[str], published: Iterable[VolumeRecord]
) -> set[str]:
    """Folder names of the volumes a target belongs to: `shown` on it, or published there.

    `real` is the target's real path.
    """
    tail = "/".join(target.parts[-_OWN_PARTS:])
    # Most paths differ in their text already; resolving each would cost system calls.
    near = (record for record in published if record.target_path.endswith(tail))
    there = {
        folder_name(r.volume_id) for r in near if os.path.realpath(r.target_path) == real_target
    }
    return bound | there


def _differences(published: VolumeRecord, wanted: VolumeRecord) -> Iterator[str]:
    if (published.namespace, published.pod_uid) != (wanted.namespace, wanted.pod_uid):
        yield "pod"
    if published.attributes.secret_name != wanted.attributes.secret_name:
        yield "secretName"
    for field, word in _WORDS.items():
        value = getattr(wanted.attributes, field)
        if value not in (getattr(published.attributes, field), getattr(_DEFAULTS, field)):
            yield word
