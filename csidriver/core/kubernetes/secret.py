"""Kubernetes Secrets as this driver sees them, and the patches it writes.

Only annotations under our two prefixes survive decoding: kubectl's `last-applied-configuration`
holds a copy of the user's refresh token and must not travel through our memory or logs.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from csidriver.core.annotations import COMPAT_PREFIX, PREFIX
from csidriver.core.kubernetes.timestamp import parse_rfc3339
from csidriver.core.names import FIELD_MANAGER
from csidriver.core.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as read: metadata that concerns us, and its data as text.

    A data value that is not base64 of UTF-8 text is left out, as if the key were absent.
    `manager` is the field manager of the newest write ("" if the backend does not say), `age` the
    seconds between the newest write of ours and the moment of reading, both by the backend's own
    clock (None if it does not say). Two reads of one version differ in nothing but age, so they
    are equal.
    """

    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""
    type: str = "Opaque"
    annotations: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Sensitive] = field(default_factory=dict)
    manager: str = ""
    age: float | None = field(default=None, compare=False)

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], now: float | None = None) -> "Secret":
        """Decode the JSON (or YAML) form of a `v1` Secret; `stringData` overrides `data`.

        `now` is the instant of reading by the backend's clock, in epoch seconds.
        """
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
            manager=newest_manager(metadata),
            age=_age(metadata, now),
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


def newest_manager(metadata: Mapping[str, Any]) -> str:
    """The field manager of the newest write, "" if the backend does not say.

    Kubernetes tells the second only. Of two writes in one second ours counts as the older one:
    then nobody takes a stranger's write for one of ours.
    """

    def rank(entry: Mapping[str, Any]) -> tuple[str, bool]:
        return str(entry.get("time", "")), entry.get("manager") != FIELD_MANAGER

    newest = max(metadata.get("managedFields") or [], key=rank, default=None)
    return "" if newest is None else str(newest.get("manager", ""))


def _encoded(value: Sensitive) -> str:
    return base64.b64encode(value.reveal().encode()).decode("ascii")


def _decoded(value: Any) -> Sensitive | None:
    # The API server takes wrapped base64 too: Go's decoder passes over line breaks.
    text = "" if value is None else str(value).replace("\r", "").replace("\n", "")
    try:
        return Sensitive(base64.b64decode(text, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def _age(metadata: Mapping[str, Any], now: float | None) -> float | None:
    if now is None:
        return None
    entries = metadata.get("managedFields") or []
    told = [str(e.get("time", "")) for e in entries if e.get("manager") == FIELD_MANAGER]
    written_at = max((at for at in map(parse_rfc3339, told) if at is not None), default=None)
    return None if written_at is None else max(0.0, now - written_at)
