"""What is kept of a published volume: enough to go on after a restart, and no token."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from csidriver.core.names import SourceRef
from csidriver.core.volume.attributes import VolumeAttributes
from csidriver.core.volume.template import Template
from csidriver.errors import InvalidTemplate, TokenFileFailed
from csidriver.node.tokenfile import as_driver_error

T = TypeVar("T")

FILE_NAME = "volume.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """One published volume; `attributes.template` is the template as first read."""

    volume_id: str
    target_path: str
    namespace: str
    pod_name: str
    pod_uid: str
    attributes: VolumeAttributes

    @property
    def source(self) -> SourceRef:
        """The Secret whose token the volume shows."""
        return SourceRef(self.namespace, self.attributes.secret_name)

    def save(self, folder: Path) -> None:
        """Write the record so that a crash leaves the whole of it or none."""
        # Not json.dump, which writes piece by piece from Python.
        content = json.dumps({"version": _VERSION, "volume": _values(self)}).encode()
        draft = folder / f".{FILE_NAME}"
        try:
            with open(draft, "wb", opener=_private) as file:
                file.write(content)
            draft.rename(folder / FILE_NAME)
        except OSError as error:
            raise as_driver_error(folder / FILE_NAME, error) from error

    @classmethod
    def load(cls, folder: Path) -> "VolumeRecord":
        """Raises TokenFileFailed when there is no record, or a damaged one."""
        try:
            content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
            return _READERS[content["version"]](content["volume"])
        except _DAMAGES as error:
            raise TokenFileFailed(f"{folder / FILE_NAME}: {type(error).__name__}") from error

    @staticmethod
    def discard(folder: Path) -> None:
        """Remove the record; fine if there is none. Raises TokenFileFailed."""
        try:
            (folder / FILE_NAME).unlink(missing_ok=True)
        except OSError as error:
            raise as_driver_error(folder / FILE_NAME, error) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _values(record: VolumeRecord) -> dict[str, Any]:
    return {
        "volume_id": record.volume_id,
        "target_path": record.target_path,
        "namespace": record.namespace,
        "pod_name": record.pod_name,
        "pod_uid": record.pod_uid,
        "attributes": {
            "secret_name": record.attributes.secret_name,
            "file_name": record.attributes.file_name,
            "owner": record.attributes.owner,
            "group": record.attributes.group,
            "mode": record.attributes.mode,
            "template": record.attributes.template.text,
            "template_config_map": record.attributes.template_config_map,
            "min_validity": record.attributes.min_validity,
        },
    }


def _record(values: dict[str, Any]) -> VolumeRecord:
    attributes = values["attributes"]
    record = VolumeRecord(
        volume_id=values["volume_id"],
        target_path=values["target_path"],
        namespace=values["namespace"],
        pod_name=values["pod_name"],
        pod_uid=values["pod_uid"],
        attributes=VolumeAttributes(
            secret_name=attributes["secret_name"],
            file_name=attributes["file_name"],
            owner=attributes["owner"],
            group=attributes["group"],
            mode=attributes["mode"],
            template=Template.parse(attributes["template"]),
            template_config_map=attributes["template_config_map"],
            min_validity=attributes["min_validity"],
        ),
    )
    if _values(record) != values:
        raise ValueError("a key is unknown")
    _typed(record.attributes)
    return _typed(record)


def _typed(value: T) -> T:
    """Raises TypeError unless every field holds what its class says."""
    for name, kind in get_type_hints(type(value)).items():
        if not isinstance(getattr(value, name), kind):
            raise TypeError(name)
    return value


_READERS = {_VERSION: _record}
_DAMAGES = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    InvalidTemplate,
)
