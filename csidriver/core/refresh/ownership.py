"""Whose grant it is: that of a namespace with one uid (docs/protocol.md 2.9).

Who gets a namespace of the same name later gets nothing of the grant.
"""

from dataclasses import replace

from csidriver.core.names import SourceRef
from csidriver.core.refresh.commit import store_grant
from csidriver.core.refresh.effects import GetNamespaceUid
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.errors import StoreConflict


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
    if state.grant_missing_in_store:
        return replace(state, grant=grant), ""
    return (yield from store_grant(state, grant)), ""
