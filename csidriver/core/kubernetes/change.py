"""What every backend of Secrets tells and is told besides Secrets themselves."""

from dataclasses import dataclass
from enum import Enum, auto

from csidriver.core import names
from csidriver.core.names import SourceRef


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Where Secrets are: grants, companions, and the `namespaces` of sources (all if empty)."""

    driver: str = names.DRIVER_NAMESPACE
    tokens: str = names.TOKENS_NAMESPACE
    sources: tuple[str, ...] = ()


class TokenObject(Enum):
    """Which of the three Secrets of a token a change is about."""

    SOURCE = auto()
    GRANT = auto()
    COMPANION = auto()


@dataclass(frozen=True, slots=True)
class SecretChange:
    """A Secret as a watch saw it: `resource_version` is "" when it is gone.

    A source that is no longer annotated is gone, too. `written_by_driver` says of a source that
    its newest write is our own, so that all earlier content has been seen. A change holds no
    content: a reader of the Secret may find it changed once more.
    """

    ref: SourceRef
    token_object: TokenObject
    resource_version: str
    written_by_driver: bool = False
