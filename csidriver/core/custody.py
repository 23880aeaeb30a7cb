"""How a grant is kept: Grant to Secret and back."""

import json
from dataclasses import asdict
from typing import Any

from csidriver.core import contract
from csidriver.core.contract import Ref
from csidriver.core.grant import Grant, Intent
from csidriver.core.secret import Secret
from csidriver.core.sensitive import Sensitive
from csidriver.core.source import Client
from csidriver.core.status import Status
from csidriver.core.token import MAX_STORED, DocumentError, TokenDocument
from csidriver.errors import InvalidSecret

DOCUMENT = "document"
STATE = "state"
_VERSION = 1


def to_data(grant: Grant) -> dict[str, Sensitive]:
    """The data of the grant's Secret. Client credentials go along: a restart reads no source."""
    state: dict[str, Any] = {
        "version": _VERSION,
        "source": {
            "namespace": grant.ref.namespace,
            "name": grant.ref.name,
            "uid": grant.source_uid,
            "resourceVersion": grant.source_version,
        },
        "issuer": {"name": grant.issuer, "identity": grant.issuer_identity},
        "generation": grant.generation,
        "issuedAt": grant.issued_at,
        "expiresAt": grant.expires_at,
        "rt": grant.live,
        "seeds": list(grant.seeds),
        "spent": list(grant.spent),
        "intent": None if grant.intent is None else asdict(grant.intent),
        "nextRefresh": grant.next_refresh,
        "status": grant.status.value,
        "message": grant.message,
        "warning": grant.warning,
        "failures": grant.failures,
    }
    return {
        DOCUMENT: grant.document.text(),
        STATE: Sensitive(json.dumps(state)),
        contract.KEY_CLIENT_ID: Sensitive(grant.client.client_id),
        contract.KEY_CLIENT_SECRET: grant.client.client_secret,
    }


def to_secret(grant: Grant, namespace: str) -> Secret:
    """The Secret to create for a new grant."""
    return Secret(
        namespace=namespace,
        name=grant.ref.grant,
        type=contract.GRANT_TYPE,
        annotations={
            contract.SOURCE_NAMESPACE: grant.ref.namespace,
            contract.SOURCE_NAME: grant.ref.name,
        },
        data=to_data(grant),
    )


def from_secret(secret: Secret) -> Grant:
    """Raises InvalidSecret when the Secret is none of ours or was damaged."""
    data = secret.data if secret.type == contract.GRANT_TYPE else {}
    try:
        document, _ = TokenDocument.parse(data[DOCUMENT], limit=MAX_STORED)
        state = json.loads(data[STATE].reveal())
        return _READERS[state["version"]](state, document, secret)
    except (KeyError, TypeError, ValueError, DocumentError) as error:
        raise InvalidSecret(
            f"Secret {secret.namespace}/{secret.name}",
            [f"is no grant this version can read ({type(error).__name__}); restore it"],
        ) from None


def _grant(state: dict[str, Any], document: TokenDocument, secret: Secret) -> Grant:
    intent = state["intent"]
    following = state["nextRefresh"]
    return Grant(
        ref=Ref(state["source"]["namespace"], state["source"]["name"]),
        source_uid=state["source"]["uid"],
        source_version=state["source"]["resourceVersion"],
        issuer=state["issuer"]["name"],
        issuer_identity=state["issuer"]["identity"],
        client=Client(
            secret.data[contract.KEY_CLIENT_ID].reveal(), secret.data[contract.KEY_CLIENT_SECRET]
        ),
        document=document,
        generation=int(state["generation"]),
        issued_at=float(state["issuedAt"]),
        expires_at=float(state["expiresAt"]),
        seeds=tuple(state["seeds"]),
        spent=tuple(state["spent"]),
        intent=None if intent is None else Intent(**intent),
        next_refresh=None if following is None else float(following),
        status=Status(state["status"]),
        message=str(state["message"]),
        warning=str(state["warning"]),
        failures=int(state["failures"]),
    )


_READERS = {_VERSION: _grant}
