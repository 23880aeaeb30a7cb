"""Owners of logins and grants, and the issuer of each (docs/protocol.md 2.5, 2.9, 10.1).

Of two Secrets with one login only the one adopted first is refreshed. A grant is that of a
namespace with one uid: who gets a namespace of the same name later gets nothing of it.
"""

from dataclasses import replace

from csidriver.core.annotations import KEY_CLIENT_KEY, KEY_CLIENT_SECRET
from csidriver.core.login_command import ask_for_login
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import Params
from csidriver.core.refresh import messages
from csidriver.core.refresh.commit import commit, store_grant
from csidriver.core.refresh.effects import Duplicate, FindDuplicates, GetNamespaceUid, Now
from csidriver.core.refresh.grant import MAX_SPENT, Grant, login_id
from csidriver.core.refresh.sending.params import refused_param
from csidriver.core.refresh.source import Client
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret, NoIssuer, StoreConflict

# Seconds until the next check whether the older grant still exists; a check costs no request.
RECHECK_SECONDS = 60.0
# The owner of a grant of an earlier release whose namespace was deleted; no uid is like this.
_DELETED_NAMESPACE = "deleted"


def check_duplicates(state: TokenState) -> Effects[TokenState]:
    """Stop the refresh of a grant with an older duplicate; resume it when that is gone."""
    grant = state.grant
    now = yield from Now()
    if grant is None or state.grant_stale:
        return state
    marked = grant.status is Status.DUPLICATE_GRANT
    if not marked and (grant.next_refresh is None or now < grant.next_refresh):
        return state
    this = Duplicate(grant.adopted_at, state.ref)
    others = yield from FindDuplicates(state.ref, grant.adopted_at, grant.token_hashes)
    older = min((other for other in others if other < this), default=None)
    if older is None:
        return replace(state, grant=_resumed(grant, now)) if marked else state
    state = replace(state, requeue_at=now + RECHECK_SECONDS)
    duplicate_of = login_id(older.ref, older.adopted_at)
    if marked and grant.duplicate_of == duplicate_of:
        return state
    # Store it: after the next refresh of the older grant, the two have no hash in common.
    after = replace(
        grant,
        status=Status.DUPLICATE_GRANT,
        message=messages.DUPLICATE_MESSAGE.format(other=_display_name(older.ref, state.ref)),
        duplicate_of=duplicate_of,
        next_refresh=None,
    )
    return (yield from commit(state, grant, after))


def _display_name(other: SourceRef, ref: SourceRef) -> str:
    """Hide names of other namespaces from the users of this one."""
    same = other.namespace == ref.namespace
    return f"Secret {other.name}" if same else "a Secret of another namespace"


def without_access_token(grant: Grant, now: float) -> Grant:
    """Return the grant as if it had just been adopted, with a token request that is due."""
    return replace(
        grant,
        issued_at=0.0,
        expires_at=0.0,
        next_refresh=now,
        status=Status.PENDING,
        message=messages.PENDING_MESSAGE,
    )


def with_ended_token_spent(grant: Grant) -> Grant:
    """Return the grant with its refresh token among the spent ones if a rotation of it was lost.

    The document keeps it: a reply to it may still be found.
    """
    if grant.status is not Status.LOST_ROTATION or grant.live_hash in grant.spent:
        return grant
    spent = (*grant.spent, grant.live_hash)[-MAX_SPENT:]
    trimmed = len(grant.spent) + 1 - len(spent)
    return replace(grant, spent=spent, inherited=max(0, grant.inherited - trimmed))


def _resumed(grant: Grant, now: float) -> Grant:
    valid = grant.expires_at > now
    return replace(
        grant,
        status=Status.READY if valid else Status.PENDING,
        message=messages.READY_MESSAGE if valid else messages.PENDING_MESSAGE,
        duplicate_of="",
        next_refresh=now,
    )


def get_namespace_uid(ref: SourceRef) -> Effects[str]:
    """Return the uid of the source's namespace. Raises StoreConflict if it is gone."""
    uid = yield from GetNamespaceUid(ref.namespace)
    if not uid:
        raise StoreConflict(f"namespace {ref.namespace} is gone")
    return uid


def find_new_owner(state: TokenState) -> Effects[tuple[TokenState, str]]:
    """Return the uid of the source's namespace if the grant is of an earlier one, else "".

    A grant that names no namespace, as earlier releases stored it, gets the one that is found.
    """
    grant, source = state.grant, state.source
    if grant is None or source is None or (grant.namespace_uid and source.uid == grant.source_uid):
        return state, ""
    uid = yield from get_namespace_uid(state.ref)
    if grant.namespace_uid:
        return state, "" if grant.namespace_uid == uid else uid
    grant = replace(grant, namespace_uid=uid)
    if state.grant_missing_in_store or state.grant_unreadable:
        return replace(state, grant=grant), ""
    return (yield from store_grant(state, grant)), ""


def keep_owner(state: TokenState) -> Effects[TokenState]:
    """Store whose a grant of an earlier release is, while its source is gone.

    The next source of its name may be in a later namespace.
    """
    grant = state.grant
    is_stored = not (state.grant_missing_in_store or state.grant_unreadable)
    if grant is None or grant.namespace_uid or not is_stored:
        return state
    uid = yield from GetNamespaceUid(state.ref.namespace)
    return (yield from store_grant(state, replace(grant, namespace_uid=uid or _DELETED_NAMESPACE)))


def bound_issuer(grant: Grant, context: RefreshContext) -> Issuer:
    """Return the issuer that the grant was adopted with. Raises NoIssuer, InvalidSecret.

    The refresh token goes to no other issuer, so that a user who may edit the Secret cannot have it
    sent elsewhere.
    """
    bound = context.issuers.by_name.get(grant.issuer)
    if bound is None or bound.identifier != grant.issuer_identity:
        text = f"issuer {grant.issuer!r} is not configured as it was when the token was adopted"
        text = f"{text}; restore its configuration, or log in again"
        raise NoIssuer(ask_for_login(text, grant.ref))
    if not bound.is_open_to(grant.ref.namespace):
        raise NoIssuer(
            f"issuer {grant.issuer!r} is no longer open to namespace {grant.ref.namespace!r}"
        )
    check_request(grant.ref, grant.client, grant.params, bound)
    return bound


def check_request(ref: SourceRef, client: Client, params: Params, issuer: Issuer) -> None:
    """Raise NoIssuer or InvalidSecret if the issuer does not permit this client or a parameter."""
    refused = refused_param(params, issuer)
    if refused:
        raise NoIssuer(refused)
    if not issuer.has_operator_clients or not client.client_id:
        return
    users = [each.namespaces for each in issuer.clients if each.client_id == client.client_id]
    if not any(ref.namespace in namespaces for namespaces in users):
        raise NoIssuer(
            f"issuer {issuer.name!r} does not let namespace {ref.namespace!r} use this clientID; "
            "ask the operator to add both to clients"
        )
    if client.client_secret or client.private_key:
        text = f"issuer {issuer.name!r} trusts the driver itself; remove {KEY_CLIENT_SECRET} and "
        raise InvalidSecret(f"Secret {ref}", [f"{text}{KEY_CLIENT_KEY}"])
