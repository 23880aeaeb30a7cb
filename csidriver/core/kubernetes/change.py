"""What every backend of Secrets tells and is told besides Secrets themselves."""

from dataclasses import dataclass
from enum import Enum, auto

from csidriver.core import names
from csidriver.core.names import Ref


@dataclass(frozen=True, slots=True)
class Places:
    """Where Secrets are: grants, companions, and the `namespaces` of sources (all if empty)."""

    driver: str = names.DRIVER_NAMESPACE
    tokens: str = names.TOKENS_NAMESPACE
    namespaces: tuple[str, ...] = ()


class What(Enum):
    """Which of the three Secrets of a token a change is about."""

    SOURCE = auto()
    GRANT = auto()
    COMPANION = auto()


@dataclass(frozen=True, slots=True)
class Change:
    """A Secret as a watch saw it: `resource_version` is "" when it is gone.

    A source that is no longer annotated is gone, too. `by_us` says of a source that its newest
    write is our own, so that whatever stood before it has been seen. A change holds no content;
    whoever cares reads the Secret, and may find it changed once more.
    """

    ref: Ref
    what: What
    resource_version: str
    by_us: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """What a user finds under `kubectl describe`; one that recurs is counted, not repeated.

    `uid` is that of the object, "" if it was never read; `reason` a CamelCase word, `message` free
    of secrets. `topic` tells Events of one object and reason apart.
    """

    ref: Ref
    uid: str
    reason: str
    message: str
    normal: bool
    kind: str = "Secret"
    topic: str = ""

    @property
    def about(self) -> dict[str, str]:
        """The reference to the object, as Kubernetes writes it."""
        place = {"namespace": self.ref.namespace, "name": self.ref.name}
        version = "apps/v1" if self.kind == "Deployment" else "v1"
        known = {"uid": self.uid} if self.uid else {}
        return {"apiVersion": version, "kind": self.kind, **known, **place}
