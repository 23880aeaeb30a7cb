"""Changes of Secrets as a watch reports them, and the namespaces that it watches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from csidriver.core import names
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces of grants (`driver`), companions (`tokens`) and sources; no `sources`: all."""

    driver: str = names.DRIVER_NAMESPACE
    tokens: str = names.TOKENS_NAMESPACE
    sources: tuple[str, ...] = ()


# Takes uid and version of an object; returns its token if the watcher itself wrote this version.
FindOwnWrite = Callable[[str, str], SourceRef | None]


class TokenObject(Enum):
    """The three kinds of Secrets."""

    SOURCE = auto()
    GRANT = auto()
    COMPANION = auto()


@dataclass(frozen=True, slots=True)
class SecretChange:
    """A change of a Secret. `resource_version` is "" if it, or the annotation of a source, is gone.

    `written_by_driver` is true for a source whose newest write is our own: the refresher knows its
    content. `uid` is that of a source. A change holds its `content` only if the watch asks
    for that: the Secret may have changed again when it is read.
    """

    ref: SourceRef
    token_object: TokenObject
    resource_version: str
    written_by_driver: bool = False
    uid: str = field(default="", compare=False)  # another object has another version
    content: Secret | None = field(default=None, compare=False)
