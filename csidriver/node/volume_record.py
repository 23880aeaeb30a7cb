"""The record of a published volume, from which a restarted plugin continues. It has no token."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from csidriver.config import NodeLimits
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import SourceRef
from csidriver.core.volume.attributes import VolumeAttributes
from csidriver.core.volume.template import MAX_CONTENT, Template
from csidriver.errors import InvalidTemplate, LimitReached, PublishedDifferently, TokenFileFailed
from csidriver.node.token_fs import folder_name
from csidriver.node.tokenfile import as_driver_error

FILE_NAME = "volume.json"
_VERSION = 1
# Names in the file, which are also those of the fields; a template is stored as its text.
_STORED = ("volume_id", "target_path", "namespace", "pod_name", "pod_uid")
_STORED_ATTRIBUTES = (
    "secret_name",
    "file_name",
    "owner",
    "group",
    "mode",
    "template",
    "template_config_map",
    "min_validity",
)
# Parts of a target's path below kubelet's folder of pods, where no symlink is allowed.
_PARTS_BELOW_PODS = 5


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """One published volume; `attributes.template` is the template as first read.

    `namespace_uid` is that of the token's owner, "" if the companion named none.
    """

    volume_id: str
    target_path: str
    namespace: str
    pod_name: str
    pod_uid: str
    attributes: VolumeAttributes
    namespace_uid: str = ""

    @property
    def source(self) -> SourceRef:
        return SourceRef(self.namespace, self.attributes.secret_name)

    @property
    def pod(self) -> PodRef:
        return PodRef(self.namespace, self.pod_name, self.pod_uid)

    def save(self, folder: Path) -> None:
        """Write the record; a crash leaves all of it or nothing."""
        # Not json.dump, which writes piece by piece from Python.
        content = json.dumps({"version": _VERSION, "volume": _values(self)}).encode()
        draft = folder / f".{FILE_NAME}"
        try:
            with open(draft, "wb", opener=partial(os.open, mode=0o600)) as file:
                file.write(content)
            draft.rename(folder / FILE_NAME)
        except OSError as error:
            raise as_driver_error(folder / FILE_NAME, error) from error

    @classmethod
    def load(cls, folder: Path) -> "VolumeRecord":
        """Read a record. Raise TokenFileFailed if it is missing or damaged."""
        try:
            content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
            return _READERS[content["version"]](content["volume"])
        except _READ_ERRORS as error:
            raise TokenFileFailed(f"{folder / FILE_NAME}: {type(error).__name__}") from error

    @staticmethod
    def discard(folder: Path) -> None:
        try:
            (folder / FILE_NAME).unlink(missing_ok=True)
        except OSError as error:
            raise as_driver_error(folder / FILE_NAME, error) from error


def check_same_request(published: VolumeRecord, wanted: VolumeRecord, *, bound: bool) -> None:
    """Check that `published` is the volume of the request `wanted`.

    `bound`: the request's target is a mount of the published volume.

    Other attributes are not compared: an inline volume does not change while its pod lives.

    Raises:
        PublishedDifferently: its text names the differing fields, but not their values.
    """
    differences = []
    if (published.namespace, published.pod_uid) != (wanted.namespace, wanted.pod_uid):
        differences.append("pod")
    if published.attributes.secret_name != wanted.attributes.secret_name:
        differences.append("secretName")
    # One target may have several paths: a symlink may lead to kubelet's folder.
    if not bound and len({os.path.realpath(r.target_path) for r in (published, wanted)}) > 1:
        differences.insert(0, "target_path")
    if differences:
        raise PublishedDifferently(
            f"the volume is already published with another {', '.join(differences)}; "
            "unpublish it first"
        )


def check_limits(wanted: VolumeRecord, others: list[VolumeRecord], limits: NodeLimits) -> None:
    """Raise LimitReached if `wanted` exceeds a limit of its pod, its namespace or the node."""
    near = [other for other in others if other.namespace == wanted.namespace]
    in_pod = sum(other.pod_uid == wanted.pod_uid for other in near)
    pod, namespace = f"pod {wanted.pod_name}", f"namespace {wanted.namespace}"
    for owner, count, limit in (
        (pod, in_pod, "volumes_per_pod"),
        (namespace, len(near), "volumes_per_namespace"),
        ("this node", len(others), "volumes_per_node"),
        (namespace, len({o.source for o in near} - {wanted.source}), "secrets_per_namespace"),
        ("this node", len({o.source for o in others} - {wanted.source}), "secrets_per_node"),
    ):
        if count >= getattr(limits, limit):
            have = "volumes" if limit.startswith("volumes") else "Secrets with volumes"
            flag = f"--{limit.replace('_', '-')}"
            raise LimitReached(f"{owner} has {count} {have} here, as many as it may; see {flag}")


def volumes_at_target(
    target: Path, real_target: str, bound: set[str], published: Iterable[VolumeRecord]
) -> set[str]:
    """Return the folder names of the volumes that are `bound` to a target or published there.

    `real_target` is the target's path without symlinks.
    """
    tail = "/".join(target.parts[-_PARTS_BELOW_PODS:])
    # Comparing the text first saves the system calls that resolve the paths of other targets.
    candidates = (record for record in published if record.target_path.endswith(tail))
    return bound | {
        folder_name(record.volume_id)
        for record in candidates
        if os.path.realpath(record.target_path) == real_target
    }


def _values(record: VolumeRecord) -> dict[str, Any]:
    attributes = {name: getattr(record.attributes, name) for name in _STORED_ATTRIBUTES}
    attributes["template"] = record.attributes.template.text
    owner = {"namespace_uid": record.namespace_uid} if record.namespace_uid else {}
    return {**{name: getattr(record, name) for name in _STORED}, "attributes": attributes, **owner}


def _record(values: dict[str, Any]) -> VolumeRecord:
    # An earlier release allowed larger ones.
    template = Template.parse(values["attributes"]["template"], MAX_CONTENT)
    attributes = VolumeAttributes(**{**values["attributes"], "template": template})
    owner = values.get("namespace_uid", "")
    fields = {name: values[name] for name in _STORED}
    record = VolumeRecord(**fields, attributes=attributes, namespace_uid=owner)
    if _values(record) != values:
        raise ValueError("a key is unknown")
    return record


_READERS = {_VERSION: _record}
_READ_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    InvalidTemplate,
)
