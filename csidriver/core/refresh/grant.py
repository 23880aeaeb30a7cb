"""The grant: the live token document in the refresher's custody, and every decision about it.

Values only. Reading and writing grants, in the order that survives crashes, is `refresh`.
The rules are docs/protocol.md sections 2 to 4.
"""

from dataclasses import dataclass, replace
from enum import Enum

from csidriver.core.companion import AccessToken
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.jwt import unverified_claims
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.messages import PENDING_MESSAGE, READY_MESSAGE
from csidriver.core.refresh.source import Client, Source
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status, TokenWarning

MAX_SEEDS = 256
MAX_SPENT = 16


@dataclass(frozen=True, slots=True)
class Intent:
    """The announcement that a refresh token is about to be presented; it fences other replicas.

    `rt` is the hash of that token, `takeover_after` seconds; `first_at`, the first attempt, and
    `started_at`, this one, are epoch seconds. `recorded`: the outcome is stored, as unknown.
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
    """One live document and its state; instants in epoch seconds, 0 for never.

    `next_refresh` is None if only a change of the source or its issuer can help. The first
    `inherited` hashes of `spent` are of earlier seeds. `key` is the document's key in the source.
    `refresh_renewed`: the last refresh moved the refresh token's expiry; `expiry_warnings`: number
    of warnings of it that were given. `failure_reason` ended the last attempt, `fingerprint` is the
    issuer's configuration then; `refused_scope_fingerprint` is the one whose scope was refused.
    `duplicate_of` is the login ID of the older grant of the same login.
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
    fingerprint: str = ""
    refused_scope_fingerprint: str = ""
    duplicate_of: str = ""

    @property
    def live_hash(self) -> str:
        """Hash of the refresh token that may be presented."""
        token = self.document.refresh_token
        return "" if token is None else token.hash()

    @property
    def login_id(self) -> str:
        """Names this login for as long as it is the one in custody."""
        return login_id(self.ref, self.adopted_at)

    @property
    def token_hashes(self) -> frozenset[str]:
        """What this token shares with any other Secret that came from the same login."""
        own = (self.live_hash, self.login_id, *self.seeds[-1:], *self.spent[self.inherited :])
        return frozenset(name for name in (*own, self.duplicate_of) if name)

    @property
    def lifetime(self) -> float:
        """Seconds the access token lives in all, 0 when there is none."""
        return max(0.0, self.expires_at - self.issued_at)

    def access_token(self, written_at: float) -> AccessToken | None:
        """The access token for the companion, None when there is none with a known expiry."""
        value = self.document.access_token
        if value is None or self.expires_at <= 0:
            return None
        return AccessToken(
            value, self.document.token_type, self.issued_at, self.expires_at, written_at
        )


def login_id(ref: SourceRef, adopted_at: float) -> str:
    """Names one adoption of one Secret."""
    return f"{ref.id}@{adopted_at:.3f}"


class SourceToken(Enum):
    """What a source's refresh token says about the grant (protocol section 2)."""

    LIVE = "same"
    OLD = "old_seed"
    NEW = "reseed"


def compare_source(grant: Grant, source: Source) -> SourceToken:
    """Whether the source holds the live token, a restored old one, or a human's new one."""
    presented = source.refresh_token.hash()
    if presented == grant.live_hash:
        return SourceToken.LIVE
    old = presented in grant.seeds or presented in grant.spent
    return SourceToken.OLD if old else SourceToken.NEW


def adopt(source: Source, issuer: Issuer, now: float, previous: Grant | None) -> Grant:
    """A grant from a source seen for the first time, or reseeded over `previous`.

    The seed's own access token is used while it provably lives another 30 s or half its life.
    """
    said = unverified_claims(source.document.access_token) if source.document.access_token else None
    issued, expiry = (said.iat or 0.0, said.exp or 0.0) if said else (0.0, 0.0)
    usable = 0 < issued < expiry and expiry - now > min(30.0, (expiry - issued) / 2)
    seeds, spent = (previous.seeds, previous.spent) if previous else ((), ())
    if previous is not None:
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
        issued_at=issued if usable else 0.0,
        expires_at=expiry if usable else 0.0,
        seeds=(*seeds, source.refresh_token.hash())[-MAX_SEEDS:],
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
    )


def effective_lifetime(grant: Grant, issuer: Issuer) -> float:
    """Seconds to derive time-outs from: the token's lifetime, or a guess before the first one."""
    return grant.lifetime or issuer.default_lifetime


def with_intent(grant: Grant, nonce: str, holder: str, now: float, takeover_after: float) -> Grant:
    """The grant with the intent to present its live refresh token.

    An intent left for the same token means that an earlier outcome is unknown: the attempt counts
    up and keeps the instant of the first send.
    """
    earlier = (
        grant.intent
        if grant.intent is not None and grant.intent.refresh_token_hash == grant.live_hash
        else None
    )
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
    """The grant after an announced attempt that sent nothing: an earlier one stays unsettled."""
    intent = grant.intent
    if intent is None or intent.attempt <= 1:
        return replace(grant, intent=None)
    return replace(grant, intent=replace(intent, attempt=intent.attempt - 1, recorded=True))


def sendable_refresh_token(grant: Grant) -> Sensitive | None:
    """The live token, None if there is none or a later one replaced it (protocol section 2.6)."""
    return None if grant.live_hash in grant.spent else grant.document.refresh_token
