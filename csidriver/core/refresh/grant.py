"""The grant: the live token document and its state. A value without I/O (docs/protocol.md 1, 2).

`grant_secret` converts it to a Secret, `state` reads it, `commit` stores it.
"""

from dataclasses import dataclass, replace
from enum import Enum

from csidriver.core.companion import AccessToken, is_token_type
from csidriver.core.login_command import ask_for_login
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.jwt import unverified_claims
from csidriver.core.oauth.request_settings import Params
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.messages import PENDING_MESSAGE, READY_MESSAGE
from csidriver.core.refresh.source import Client, Source
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status, TokenWarning

MAX_SEEDS = 256
MAX_SPENT = 16
_NOT_OF_ISSUER = (Status.PENDING, Status.READY, Status.DUPLICATE_GRANT, Status.WAITS_FOR_LOGIN)
_REFUSED = (Status.NEEDS_REAUTH, Status.LOST_ROTATION)
_ENDED_BY_LOGIN = (*_REFUSED, Status.UNCERTAIN, Status.DUPLICATE_GRANT)


@dataclass(frozen=True, slots=True)
class Intent:
    """A stored intent to send a refresh token; it fences other replicas.

    `first_at` is the time of the first attempt, `started_at` of this one, in epoch seconds.
    `takeover_after` is in seconds. `recorded`: the outcome is stored as unknown.
    """

    nonce: str
    holder: str
    refresh_token_hash: str
    first_at: float
    started_at: float
    takeover_after: float
    attempt: int
    recorded: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """One live document and its state; times in epoch seconds, 0 for never.

    `next_refresh` is None if only a change of the source or its issuer can help. The first
    `inherited` hashes of `spent` are of earlier seeds. `key` is the document's key in the source.
    `refresh_renewed`: the last refresh moved the refresh token's expiry; `expiry_warnings`: number
    of warnings of it that were given. `failure_reason` ended the attempts since `failing_since`,
    `fingerprint` is the issuer's configuration then; `refused_scope_fingerprint` is the one whose
    scope was refused. `duplicate_of` is the login ID of the older grant of the same login.
    `namespace_uid` is the owner's: the namespace of the source. `refresh_requested_at` is the
    request for a refresh that was honoured last. `login` names the source whose access token is
    exchanged, which had `login_generation` at the last attempt; `params` are form fields.
    """

    ref: SourceRef
    source_uid: str
    source_version: str
    issuer: str
    issuer_identity: str
    client: Client
    document: TokenDocument
    generation: int
    issued_at: float
    expires_at: float
    seeds: tuple[str, ...]
    spent: tuple[str, ...]
    intent: Intent | None
    next_refresh: float | None
    status: Status
    message: str
    warning: str
    failures: int
    adopted_at: float = 0.0
    key: str = ""
    inherited: int = 0
    refresh_expires_at: float = 0.0
    refresh_renewed: bool = True
    expiry_warnings: int = 0
    failure_reason: FailureReason | None = None
    failing_since: float = 0.0
    fingerprint: str = ""
    refused_scope_fingerprint: str = ""
    duplicate_of: str = ""
    namespace_uid: str = ""
    refresh_requested_at: float = 0.0
    grant_type: GrantType = GrantType.REFRESH_TOKEN
    params: Params = ()
    login: str = ""
    login_generation: int = 0

    @property
    def live_hash(self) -> str:
        """The hash of the live refresh token, "" without one."""
        token = self.document.refresh_token
        return "" if token is None else token.hash()

    @property
    def login_id(self) -> str:
        return login_id(self.ref, self.adopted_at)

    @property
    def token_hashes(self) -> frozenset[str]:
        """The hashes that another grant of the same login has in common with this one."""
        if self.grant_type.is_repeatable:
            return frozenset()  # its refresh token is not sent
        own = (self.live_hash, self.login_id, *self.seeds[-1:], *self.spent[self.inherited :])
        return frozenset(name for name in (*own, self.duplicate_of) if name)

    @property
    def lifetime(self) -> float:
        """The access token's lifetime in seconds, 0 without one."""
        return max(0.0, self.expires_at - self.issued_at)

    @property
    def user_message(self) -> str:
        """The message, with the issuer where that may be the wrong one, and how to log in."""
        of_issuer = self.status not in _NOT_OF_ISSUER
        text = f"issuer {self.issuer!r}: {self.message}" if of_issuer else self.message
        return ask_for_login(text, self.ref) if self.status in _ENDED_BY_LOGIN else text

    def access_token(self, written_at: float) -> AccessToken | None:
        """Return the companion's access token, None without one of a known expiry."""
        value, token_type = self.document.access_token, self.document.token_type
        if value is None or self.expires_at <= 0 or not is_token_type(token_type):
            return None
        return AccessToken(value, token_type, self.issued_at, self.expires_at, written_at)


def login_id(ref: SourceRef, adopted_at: float) -> str:
    return f"{ref.id}@{adopted_at:.3f}"


class SourceToken(Enum):
    """The refresh token of a source compared with the grant (docs/protocol.md 2)."""

    LIVE = "live"
    OLD = "old"
    NEW = "new"


def compare_source(grant: Grant, source: Source) -> SourceToken:
    """Return NEW for a token that the user put in, OLD for a restored one; none is LIVE."""
    if source.token_hash in ("", grant.live_hash):
        return SourceToken.LIVE
    is_old = source.token_hash in (*grant.seeds, *grant.spent)
    return SourceToken.OLD if is_old else SourceToken.NEW


def is_reseed(grant: Grant, source: Source) -> bool:
    return compare_source(grant, source) is SourceToken.NEW


def adopt(source: Source, issuer: Issuer, now: float, previous: Grant | None) -> Grant:
    """Return the grant of a new source, or of a reseeded one with its `previous` grant.

    The seed's access token is used if it is a JWT that lives another 30 s or half its lifetime.
    """
    claims = unverified_claims(source.document.access_token)
    issued_at, expires_at = 0.0 if claims.is_bound else claims.iat or 0.0, claims.exp or 0.0
    lifetime = expires_at - issued_at
    usable = 0 < issued_at < expires_at and expires_at - now > min(30.0, lifetime / 2)
    seeds, spent = (previous.seeds, previous.spent) if previous else ((), ())
    if previous is not None and previous.live_hash not in ("", source.token_hash):
        spent = (*spent, previous.live_hash)[-MAX_SPENT:]
    return Grant(
        ref=source.ref,
        source_uid=source.uid,
        source_version="",
        issuer=issuer.name,
        issuer_identity=issuer.identifier,
        client=source.client,
        document=source.document,
        generation=previous.generation + 1 if previous else 1,
        issued_at=issued_at if usable else 0.0,
        expires_at=expires_at if usable else 0.0,
        seeds=(*seeds, source.token_hash)[-MAX_SEEDS:] if source.token_hash else seeds,
        spent=spent,
        intent=None,
        next_refresh=now,
        status=Status.READY if usable else Status.PENDING,
        message=READY_MESSAGE if usable else PENDING_MESSAGE,
        warning=TokenWarning.TRAILING_BYTES.value if source.trailing else "",
        failures=0,
        adopted_at=now,
        key=source.key,
        inherited=len(spent),
        refresh_requested_at=source.refresh_requested_at,
        grant_type=source.grant_type,
        params=source.params,
        login=source.login,
    )


def effective_lifetime(grant: Grant, issuer: Issuer) -> float:
    """Return the access token's lifetime, or the issuer's default before the first one."""
    return grant.lifetime or issuer.default_lifetime


def is_scope_refused(grant: Grant, issuer: Issuer) -> bool:
    return bool(issuer.scope) and grant.refused_scope_fingerprint == issuer.fingerprint


def without_refused_scope(grant: Grant, issuer: Issuer) -> Issuer:
    """Return the issuer without its scope if it has refused that for this grant."""
    return replace(issuer, scope="") if is_scope_refused(grant, issuer) else issuer


def with_intent(grant: Grant, nonce: str, holder: str, now: float, takeover_after: float) -> Grant:
    """Add the intent to send the live refresh token.

    If the outcome of an earlier attempt is unknown, count up and keep the time of the first one.
    """
    intent = grant.intent
    earlier = intent if intent and intent.refresh_token_hash == grant.live_hash else None
    return replace(
        grant,
        intent=Intent(
            nonce=nonce,
            holder=holder,
            refresh_token_hash=grant.live_hash,
            first_at=earlier.first_at if earlier else now,
            started_at=now,
            takeover_after=takeover_after,
            attempt=earlier.attempt + 1 if earlier else 1,
            recorded=False,
        ),
    )


def without_unsent_attempt(grant: Grant) -> Grant:
    """Remove an attempt that sent nothing; the outcome of an earlier one stays unknown."""
    intent = grant.intent
    if intent is None or intent.attempt <= 1:
        return replace(grant, intent=None)
    earlier = replace(intent, attempt=intent.attempt - 1, started_at=intent.first_at, recorded=True)
    return replace(grant, intent=earlier)


def sendable_refresh_token(grant: Grant) -> Sensitive | None:
    """Return the live token, None without one or if it is spent (docs/protocol.md 2.6)."""
    return None if grant.live_hash in grant.spent else grant.document.refresh_token
