"""What every backend of Secrets tells and is told besides Secrets themselves."""

from dataclasses import dataclass

from csidriver.core.contract import Ref


@dataclass(frozen=True, slots=True)
class SourceChange:
    """A source as a watch saw it: `resource_version` is "" when it is gone or no longer annotated.

    It holds no content; whoever cares reads the Secret, and may find it changed once more.
    """

    ref: Ref
    resource_version: str


@dataclass(frozen=True, slots=True)
class Event:
    """What a user finds under `kubectl describe secret`; one that recurs is counted, not repeated.

    `uid` is that of the Secret, `reason` a CamelCase word, `message` free of secrets.
    """

    ref: Ref
    uid: str
    reason: str
    message: str
    normal: bool
