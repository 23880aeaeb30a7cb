"""Kubernetes Events of the driver."""

from dataclasses import dataclass
from typing import Any

from csidriver.core.names import FIELD_MANAGER, SourceRef


@dataclass(frozen=True, slots=True)
class Event:
    """An Event as `kubectl describe` shows it. The backend counts one that recurs.

    `uid` is that of the object, "" if unknown. `reason` is a CamelCase word. `message` contains no
    secret. `topic` distinguishes Events of the same object and reason.
    """

    ref: SourceRef
    uid: str
    reason: str
    message: str
    normal: bool
    kind: str = "Secret"
    topic: str = ""

    def to_manifest(self, name: str, time: str) -> dict[str, Any]:
        """Return the JSON that creates the Event at `time` (RFC 3339)."""
        involved = {
            "apiVersion": "apps/v1" if self.kind == "Deployment" else "v1",
            "kind": self.kind,
            "namespace": self.ref.namespace,
            "name": self.ref.name,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": self.ref.namespace},
            "involvedObject": involved | ({"uid": self.uid} if self.uid else {}),
            "reason": self.reason,
            "message": self.message,
            "type": "Normal" if self.normal else "Warning",
            "source": {"component": FIELD_MANAGER},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
