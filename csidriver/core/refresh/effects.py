"""The effects of the refresh protocol: all that it may do to the outside.

A generator yields effects and receives their results, so that threads drive the same rules in
production and virtual time in the simulator. Errors of `csidriver.errors` are thrown into it.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_form import Form
from csidriver.core.oauth.token_response import TokenResponse
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.errors import DriverError

R = TypeVar("R")


class Effect(Generic[R]):
    """A request to the runner of the generator: `result = yield from effect` is typed."""

    __slots__ = ()

    def __iter__(self) -> "Generator[Effect[Any], Any, R]":
        result: R = yield self
        return result


def drive(steps: Generator[Effect[Any], Any, R], perform: Callable[[Effect[Any]], Any]) -> R:
    """Run a generator of effects to its end; throw each DriverError of `perform` into it."""
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
    """Read a Secret; None if it does not exist."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class GetNamespaceUid(Effect[str]):
    """Read the uid of a namespace; "" if it does not exist."""

    namespace: str


@dataclass(frozen=True, slots=True)
class CreateSecret(Effect[Secret]):
    """Create a Secret; StoreConflict if it exists."""

    secret: Secret


@dataclass(frozen=True, slots=True)
class PatchSecret(Effect[Secret]):
    """Patch a Secret that is still at `base.resource_version`, else StoreConflict."""

    base: Secret
    patch: SecretPatch


@dataclass(frozen=True, slots=True)
class DeleteSecret(Effect[None]):
    """Delete a Secret that is still at `base.resource_version`, or is absent."""

    base: Secret


@dataclass(frozen=True, slots=True)
class Now(Effect[float]):
    """Read the wall clock: epoch seconds."""


@dataclass(frozen=True, slots=True)
class Monotonic(Effect[float]):
    """Read the monotonic clock: seconds."""


@dataclass(frozen=True, slots=True)
class Nonce(Effect[str]):
    """Make a random name for an intent."""


@dataclass(frozen=True, slots=True)
class AcquireSendSlot(Effect[float]):
    """Acquire a slot for a token request: 0, or seconds to wait; infinity: this process may not."""

    issuer: Issuer
    ref: SourceRef
    client: Client


@dataclass(frozen=True, slots=True)
class ReleaseSendSlot(Effect[None]):
    """Release the slot, because nothing will be sent."""

    issuer: Issuer
    ref: SourceRef


@dataclass(frozen=True, slots=True, order=True)
class Duplicate:
    """A grant of the same login. The older one sorts first."""

    adopted_at: float
    ref: SourceRef


@dataclass(frozen=True, slots=True)
class FindDuplicates(Effect[tuple[Duplicate, ...]]):
    """Find the other grants with one of these hashes, and register this one (protocol 2.5)."""

    ref: SourceRef
    adopted_at: float
    token_hashes: frozenset[str]


@dataclass(frozen=True, slots=True)
class FindLogin(Effect[Grant | None]):
    """Find the grant of a login, None without one; register this token as made from it."""

    ref: SourceRef
    login: SourceRef


@dataclass(frozen=True, slots=True)
class ReserveGrant(Effect[bool]):
    """Reserve a grant until the reconciliation ends; False if the namespace has `most` others."""

    ref: SourceRef
    most: int


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """The nonce of an intent, and the reply once it has arrived; survives a crash."""

    nonce: str
    sent_at: float
    reply: TokenDocument | None
    refresh_token_hash: str = ""


@dataclass(frozen=True, slots=True)
class SpoolRead(Effect[SpoolEntry | None]):
    """Read the entry of one grant; None if there is no entry."""

    ref: SourceRef


@dataclass(frozen=True, slots=True)
class TakeLateReply(Effect[SpoolEntry | None]):
    """Take the reply that came after RequestToken had ended; None without one."""

    ref: SourceRef


@dataclass(frozen=True, slots=True)
class SpoolWrite(Effect[None]):
    """Write the entry of one grant and sync it."""

    ref: SourceRef
    entry: SpoolEntry


@dataclass(frozen=True, slots=True)
class SpoolClear(Effect[None]):
    """Delete the entry of one grant."""

    ref: SourceRef


@dataclass(frozen=True, slots=True)
class RequestToken(Effect[TokenResponse]):
    """Send a refresh token to the issuer's token endpoint (RFC 6749 section 6).

    The result comes within `timeout` seconds. A reply that comes later, but within `late_timeout`,
    is kept as the spool entry of `nonce`, and the token reconciled again.
    """

    issuer: Issuer
    client: Client
    refresh_token: Sensitive
    timeout: float
    late_timeout: float
    ref: SourceRef
    nonce: str


@dataclass(frozen=True, slots=True)
class RequestRepeatable(Effect[TokenResponse]):
    """Send a token request that consumes nothing, and wait `timeout` seconds for its response."""

    issuer: Issuer
    client: Client
    form: Form
    timeout: float
    ref: SourceRef


@dataclass(frozen=True, slots=True)
class Introspect(Effect[Introspection]):
    """Ask the issuer whether a refresh token is active (RFC 7662)."""

    issuer: Issuer
    client: Client
    refresh_token: Sensitive
    timeout: float


@dataclass(frozen=True, slots=True)
class Probe(Effect[bool]):
    """Return True if the authorization server itself answers a request without credentials."""

    issuer: Issuer


@dataclass(frozen=True, slots=True)
class EmitEvent(Effect[None]):
    """Emit an Event on the source, and a log line; `of_issuer`: it concerns all its tokens."""

    ref: SourceRef
    source_uid: str
    reason: str
    message: str
    normal: bool
    of_issuer: bool = False
