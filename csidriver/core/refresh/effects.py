"""The named effects of the refresh protocol: everything it may ask the outside world to do.

A generator yields effects and receives their results, so the same rules are driven by threads in
production and by virtual time in the simulator. Errors of `csidriver.errors` are thrown in.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.errors import DriverError

R = TypeVar("R")


class Effect(Generic[R]):
    """One thing to be done; `result = yield from effect` does it and is typed."""

    __slots__ = ()

    def __iter__(self) -> "Generator[Effect[Any], Any, R]":
        result: R = yield self
        return result


def drive(steps: Generator[Effect[Any], Any, R], perform: Callable[[Effect[Any]], Any]) -> R:
    """Run a generator of effects to its end; each DriverError of `perform` is thrown into it."""
    result: Any = None
    error: DriverError | None = None
    while True:
        try:
            effect = steps.send(result) if error is None else steps.throw(error)
        except StopIteration as end:
            returned: R = end.value
            return returned
        result, error = None, None
        try:
            result = perform(effect)
        except DriverError as failure:
            error = failure


@dataclass(frozen=True, slots=True)
class GetSecret(Effect[Secret | None]):
    """Read a Secret; None if there is none."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class CreateSecret(Effect[Secret]):
    """Create a Secret; StoreConflict if one of that name exists."""

    secret: Secret


@dataclass(frozen=True, slots=True)
class PatchSecret(Effect[Secret]):
    """Patch a Secret as long as it is still at `base.resource_version`, else StoreConflict."""

    base: Secret
    patch: SecretPatch


@dataclass(frozen=True, slots=True)
class DeleteSecret(Effect[None]):
    """Delete a Secret as long as it is still at `base.resource_version`; absent is fine."""

    base: Secret


@dataclass(frozen=True, slots=True)
class Now(Effect[float]):
    """Wall clock, epoch seconds."""


@dataclass(frozen=True, slots=True)
class Monotonic(Effect[float]):
    """A clock that never jumps, in seconds."""


@dataclass(frozen=True, slots=True)
class Nonce(Effect[str]):
    """A fresh random name for an intent."""


@dataclass(frozen=True, slots=True)
class Wait(Effect[None]):
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class YieldWorker(Effect[None]):
    """From here on this may take long, and holds nothing that others wait for."""


@dataclass(frozen=True, slots=True)
class AcquireSendSlot(Effect[float]):
    """Seconds to wait before an exchange may start; infinity: not as things are now.

    0 takes a slot, which the Send that follows gives back, or GiveBack if none does.
    """

    issuer: Issuer
    ref: SourceRef
    client: Client


@dataclass(frozen=True, slots=True)
class ReleaseSendSlot(Effect[None]):
    """Nothing will be sent after all: free the slot that MaySend took."""

    issuer: Issuer
    ref: SourceRef


@dataclass(frozen=True, slots=True, order=True)
class Duplicate:
    """A token by its age: the elder of two sorts first."""

    adopted_at: float
    ref: SourceRef


@dataclass(frozen=True, slots=True)
class FindDuplicates(Effect[tuple[Duplicate, ...]]):
    """The other tokens this process knows of whose `names` meet these (docs/protocol.md 2.5).

    Asking announces, too: whoever asks next is told of this one.
    """

    ref: SourceRef
    adopted_at: float
    token_hashes: frozenset[str]


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """What survives a crash of the process: a nonce whose token was sent, and maybe its reply.

    `rt` is the hash of that token.
    """

    nonce: str
    sent_at: float
    reply: TokenDocument | None
    refresh_token_hash: str = ""


@dataclass(frozen=True, slots=True)
class SpoolRead(Effect[SpoolEntry | None]):
    """The entry of one grant, None if nothing was sent."""

    ref: SourceRef


@dataclass(frozen=True, slots=True)
class SpoolWrite(Effect[None]):
    """Write the entry of one grant and wait until it is safe."""

    ref: SourceRef
    entry: SpoolEntry


@dataclass(frozen=True, slots=True)
class SpoolClear(Effect[None]):
    """Everything of this grant is stored: forget its entry."""

    ref: SourceRef


@dataclass(frozen=True, slots=True)
class RequestToken(Effect[TokenResponse]):
    """Present a refresh token at the issuer's token endpoint (RFC 6749 section 6).

    `timeout` bounds the whole exchange, in seconds.
    """

    issuer: Issuer
    client: Client
    refresh_token: Sensitive
    timeout: float


@dataclass(frozen=True, slots=True)
class Introspect(Effect[bool | None]):
    """Whether the server calls a refresh token active (RFC 7662); None if it does not say.

    That presents nothing: the token is as good as before.
    """

    issuer: Issuer
    client: Client
    refresh_token: Sensitive
    timeout: float


@dataclass(frozen=True, slots=True)
class EmitEvent(Effect[None]):
    """Tell users and operators about a change: an Event on the source, and a log line.

    `of_issuer`: it begins or ends trouble of the issuer, which concerns all of its tokens.
    """

    ref: SourceRef
    source_uid: str
    reason: str
    message: str
    normal: bool
    of_issuer: bool = False
