"""Kubernetes Secrets as this driver sees them, and the patches it writes.

Only annotations under our two prefixes survive decoding: kubectl's `last-applied-configuration`
holds a copy of the user's refresh token and must not travel through our memory or logs.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from csidriver.core.contract import COMPAT_PREFIX, PREFIX
from csidriver.core.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as read: metadata that concerns us, and its data as text.

    A data value that is not base64 of UTF-8 text is left out, as if the key were absent.
    `manager` is the field manager of the newest write ("" if the backend does not say).
    """

    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""
    type: str = "Opaque"
    annotations: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Sensitive] = field(default_factory=dict)
    manager: str = ""

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> "Secret":
        """Decode the JSON (or YAML) form of a `v1` Secret; `stringData` overrides `data`."""
        metadata = manifest.get("metadata") or {}
        data = {key: _decoded(value) for key, value in (manifest.get("data") or {}).items()}
        plain = (manifest.get("stringData") or {}).items()
        data |= {key: Sensitive("" if v is None else str(v)) for key, v in plain}
        return cls(
            namespace=str(metadata.get("namespace", "")),
            name=str(metadata.get("name", "")),
            uid=str(metadata.get("uid", "")),
            resource_version=str(metadata.get("resourceVersion", "")),
            type=str(manifest.get("type") or "Opaque"),
            annotations=own_annotations(metadata.get("annotations") or {}),
            data={key: value for key, value in data.items() if value is not None},
            manager=_newest_manager(metadata.get("managedFields") or []),
        )

    def to_manifest(self) -> dict[str, Any]:
        """The JSON form for a create request; the result holds secrets in the clear."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": self.type,
            "metadata": {
                "namespace": self.namespace,
                "name": self.name,
                "annotations": dict(self.annotations),
            },
            "data": {key: _encoded(value) for key, value in self.data.items()},
        }


@dataclass(frozen=True, slots=True)
class SecretPatch:
    """Changes to one Secret; None removes a key, keys not named stay as they are."""

    annotations: Mapping[str, str | None] = field(default_factory=dict)
    data: Mapping[str, Sensitive | None] = field(default_factory=dict)

    def to_merge_patch(self, resource_version: str) -> dict[str, Any]:
        """A JSON merge patch (RFC 7396) that fails with 409 unless the version still holds."""
        body: dict[str, Any] = {"metadata": {"resourceVersion": resource_version}}
        if self.annotations:
            body["metadata"]["annotations"] = dict(self.annotations)
        if self.data:
            body["data"] = {k: None if v is None else _encoded(v) for k, v in self.data.items()}
        return body


def own_annotations(annotations: Mapping[str, Any]) -> dict[str, str]:
    """Those annotations that are ours to read."""
    return {
        key: str(value)
        for key, value in annotations.items()
        if key.startswith((PREFIX, COMPAT_PREFIX))
    }


def _encoded(value: Sensitive) -> str:
    return base64.b64encode(value.reveal().encode()).decode("ascii")


def _decoded(value: Any) -> Sensitive | None:
    # The API server takes wrapped base64 too: Go's decoder passes over line breaks.
    text = "" if value is None else str(value).replace("\r", "").replace("\n", "")
    try:
        return Sensitive(base64.b64decode(text, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def _newest_manager(entries: list[Mapping[str, Any]]) -> str:
    newest = max(entries, key=lambda entry: str(entry.get("time", "")), default=None)
    return "" if newest is None else str(newest.get("manager", ""))
