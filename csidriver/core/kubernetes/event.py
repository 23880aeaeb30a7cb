"""Kubernetes Events, as the driver reports them."""

from dataclasses import dataclass

from csidriver.core.names import SourceRef


@dataclass(frozen=True, slots=True)
class Event:
    """What a user finds under `kubectl describe`; one that recurs is counted, not repeated.

    `uid` is that of the object, "" if it was never read; `reason` a CamelCase word, `message` free
    of secrets. `topic` tells Events of one object and reason apart.
    """

    ref: SourceRef
    uid: str
    reason: str
    message: str
    normal: bool
    kind: str = "Secret"
    topic: str = ""

    @property
    def object_reference(self) -> dict[str, str]:
        """The reference to the object, as Kubernetes writes it."""
        place = {"namespace": self.ref.namespace, "name": self.ref.name}
        version = "apps/v1" if self.kind == "Deployment" else "v1"
        known = {"uid": self.uid} if self.uid else {}
        return {"apiVersion": version, "kind": self.kind, **known, **place}
