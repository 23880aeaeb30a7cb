"""Kubernetes Secrets and patches of them.

Decoding keeps only what the driver uses. kubectl's `last-applied-configuration` holds a copy of the
user's refresh token, which must not reach our memory or logs; and a user may add a megabyte.
"""

import base64
import binascii
import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from csidriver.core.annotations import DATA_LIMITS, LIMITS
from csidriver.core.kubernetes.timestamp import parse_rfc3339
from csidriver.core.names import FIELD_MANAGER
from csidriver.core.sensitive import Sensitive

# Names of other keys that are kept, without their values: one may be a misspelling.
_MOST_OTHER_KEYS = 16
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as read. A data value that is not base64 of UTF-8 text is left out.

    A key that the driver does not use has an empty value. Values that are too long are cut.
    `manager` is the field manager of the newest write, "" if unknown. `age` is the number of
    seconds from the driver's newest write to the read, by the backend's clock, None if unknown.
    Two reads of one version differ in their age only, so they are equal.
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
        """Decode a `v1` Secret; `stringData` overrides `data`.

        `now` is the instant of the read by the backend's clock, in epoch seconds.
        """
        metadata = manifest.get("metadata") or {}
        encoded, plain = (dict(manifest.get(key) or {}) for key in ("data", "stringData"))
        others = sorted({*encoded, *plain}.difference(DATA_LIMITS))[:_MOST_OTHER_KEYS]
        data: dict[str, Sensitive | None] = dict.fromkeys(others, Sensitive(""))
        for key, limit in DATA_LIMITS.items():
            if key in plain:
                text = "" if plain[key] is None else str(plain[key])
                data[key] = Sensitive(text[: limit + 1])
            elif key in encoded:
                data[key] = _decoded(encoded[key], limit)
        return cls(
            namespace=str(metadata.get("namespace", "")),
            name=str(metadata.get("name", "")),
            uid=str(metadata.get("uid", "")),
            resource_version=str(metadata.get("resourceVersion", "")),
            type=str(manifest.get("type") or "Opaque")[:_LONGEST_NAME],
            annotations=own_annotations(metadata.get("annotations") or {}),
            data={key: value for key, value in data.items() if value is not None},
            manager=newest_manager(metadata)[:_LONGEST_NAME],
            age=_age(metadata, now),
        )

    def to_manifest(self) -> dict[str, Any]:
        """Return the JSON of a create request, which holds secrets in the clear."""
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
    """A change of one Secret. None removes a key; keys that are not named stay."""

    annotations: Mapping[str, str | None] = field(default_factory=dict)
    data: Mapping[str, Sensitive | None] = field(default_factory=dict)

    def to_merge_patch(self, resource_version: str) -> dict[str, Any]:
        """Return a JSON merge patch (RFC 7396), which fails with 409 if the version is old."""
        body: dict[str, Any] = {"metadata": {"resourceVersion": resource_version}}
        if self.annotations:
            body["metadata"]["annotations"] = dict(self.annotations)
        if self.data:
            body["data"] = {k: None if v is None else _encoded(v) for k, v in self.data.items()}
        return body


def own_annotations(annotations: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotations that the driver uses; longer values are cut."""
    return {
        key: str(annotations[key])[:limit] for key, limit in LIMITS.items() if key in annotations
    }


def newest_manager(metadata: Mapping[str, Any]) -> str:
    """Return the field manager of the newest write, "" if the backend does not say.

    Times have a resolution of one second. Of two writes in one second ours counts as the older
    one, so that the write of another manager is never taken for ours.
    """

    def rank(entry: Mapping[str, Any]) -> tuple[str, bool]:
        return str(entry.get("time", "")), entry.get("manager") != FIELD_MANAGER

    newest = max(metadata.get("managedFields") or [], key=rank, default=None)
    return "" if newest is None else str(newest.get("manager", ""))


def _encoded(value: Sensitive) -> str:
    return base64.b64encode(value.reveal().encode()).decode("ascii")


def _decoded(value: Any, limit: int) -> Sensitive | None:
    # The API server accepts wrapped base64: Go's decoder ignores line breaks.
    text = "" if value is None else str(value).replace("\r", "").replace("\n", "")
    # Three bytes more, as the last character may have four. Its rest is dropped by the decoder.
    whole = 4 * (limit // 3 + 2)
    try:
        content = base64.b64decode(text[:whole], validate=True)
        cut = len(text) > whole
        return Sensitive(codecs.getincrementaldecoder("utf-8")().decode(content, final=not cut))
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def _age(metadata: Mapping[str, Any], now: float | None) -> float | None:
    if now is None:
        return None
    entries = metadata.get("managedFields") or []
    times = [str(e.get("time", "")) for e in entries if e.get("manager") == FIELD_MANAGER]
    written_at = max((at for at in map(parse_rfc3339, times) if at is not None), default=None)
    return None if written_at is None else max(0.0, now - written_at)
