"""Conversion of a grant to its Secret and back. The keys are a stored format."""

import json
from typing import Any

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.kubernetes.timestamp import MAX_INSTANT
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.token_document import MAX_STORED, TokenDocument
from csidriver.core.refresh.grant import Grant, Intent
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret

DOCUMENT = "document"
STATE = "state"
_VERSION = 1


def to_data(grant: Grant) -> dict[str, Sensitive]:
    """Return the data of the Secret, with the client credentials: a restart reads no source."""
    return {
        DOCUMENT: grant.document.to_json(),
        STATE: Sensitive(json.dumps(_state_json(grant))),
        annotations.KEY_CLIENT_ID: Sensitive(grant.client.client_id),
        annotations.KEY_CLIENT_SECRET: grant.client.client_secret,
    } | ({annotations.KEY_CLIENT_KEY: key} if (key := grant.client.private_key) else {})


def to_patch(grant: Grant) -> SecretPatch:
    return SecretPatch(data={annotations.KEY_CLIENT_KEY: None, **to_data(grant)})


def _state_json(grant: Grant) -> dict[str, Any]:
    requested_at = grant.refresh_requested_at
    return {
        "version": _VERSION,
        "source": {
            "namespace": grant.ref.namespace,
            "name": grant.ref.name,
            "uid": grant.source_uid,
            "namespaceUid": grant.namespace_uid,
            "key": grant.key,
            "resourceVersion": grant.source_version,
        },
        "issuer": {"name": grant.issuer, "identity": grant.issuer_identity},
        "adoptedAt": grant.adopted_at,
        "generation": grant.generation,
        "issuedAt": grant.issued_at,
        "expiresAt": grant.expires_at,
        "refreshExpiresAt": grant.refresh_expires_at,
        "refreshRenewed": grant.refresh_renewed,
        "rt": grant.live_hash,
        "seeds": list(grant.seeds),
        "spent": list(grant.spent),
        "inherited": grant.inherited,
        "intent": None if grant.intent is None else _intent_json(grant.intent),
        "nextRefresh": grant.next_refresh,
        "status": grant.status.value,
        "message": grant.message,
        "warning": grant.warning,
        "expiryStep": grant.expiry_warnings,
        "failures": grant.failures,
        "signal": None if grant.failure_reason is None else grant.failure_reason.value,
        "failingSince": grant.failing_since,
        "fingerprint": grant.fingerprint,
        "unscoped": grant.refused_scope_fingerprint,
        "twin": grant.duplicate_of,
        # The first grants had none of these.
        **({"refreshRequestedAt": requested_at} if requested_at else {}),
        **(_repeatable_json(grant) if grant.grant_type.is_repeatable else {}),
    }


def _repeatable_json(grant: Grant) -> dict[str, Any]:
    return {
        "grantType": grant.grant_type.value,
        "params": [list(pair) for pair in grant.params],
        "login": grant.login,
        "loginGeneration": grant.login_generation,
    }


def _intent_json(intent: Intent) -> dict[str, Any]:
    return {
        "nonce": intent.nonce,
        "holder": intent.holder,
        "rt": intent.refresh_token_hash,
        "first_at": intent.first_at,
        "started_at": intent.started_at,
        "takeover_after": intent.takeover_after,
        "attempt": intent.attempt,
        "recorded": intent.recorded,
    }


def to_secret(grant: Grant, namespace: str) -> Secret:
    return Secret(
        namespace=namespace,
        name=grant.ref.grant,
        type=annotations.GRANT_SECRET_TYPE,
        annotations={
            annotations.SOURCE_NAMESPACE: grant.ref.namespace,
            annotations.SOURCE_NAME: grant.ref.name,
        },
        data=to_data(grant),
    )


def from_secret(secret: Secret) -> Grant:
    """Parse the Secret. Raises InvalidSecret if it has another type or is damaged."""
    data = secret.data if secret.type == annotations.GRANT_SECRET_TYPE else {}
    try:
        document, _ = TokenDocument.parse(data[DOCUMENT], limit=MAX_STORED)
        state = json.loads(data[STATE].reveal())
        return _READERS[state["version"]](state, document, secret)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidSecret(
            f"Secret {secret.namespace}/{secret.name}",
            [f"is not a grant that this version can read ({type(error).__name__}); restore it"],
        ) from None


def _grant(state: dict[str, Any], document: TokenDocument, secret: Secret) -> Grant:
    source, intent, next_refresh = state["source"], state["intent"], state["nextRefresh"]
    return Grant(
        ref=SourceRef(_text(source["namespace"]), _text(source["name"])),
        source_uid=_text(source["uid"]),
        source_version=_text(source["resourceVersion"]),
        issuer=_text(state["issuer"]["name"]),
        issuer_identity=_text(state["issuer"]["identity"]),
        client=_client(secret),
        document=document,
        generation=int(_number(state["generation"])),
        issued_at=_number(state["issuedAt"]),
        expires_at=_number(state["expiresAt"]),
        seeds=tuple(map(_text, state["seeds"])),
        spent=tuple(map(_text, state["spent"])),
        intent=None if intent is None else _intent(intent),
        next_refresh=None if next_refresh is None else _number(next_refresh),
        status=Status(state["status"]),
        message=str(state["message"]),
        warning=str(state["warning"]),
        failures=int(_number(state["failures"])),
        # Earlier releases did not store these keys.
        adopted_at=_number(state.get("adoptedAt", 0.0)),
        key=str(source.get("key", "")),
        inherited=int(_number(state.get("inherited", 0))),
        refresh_expires_at=_end(state.get("refreshExpiresAt", 0.0)),
        refresh_renewed=bool(state.get("refreshRenewed", True)),
        expiry_warnings=int(_number(state.get("expiryStep", 0))),
        failure_reason=FailureReason(reason) if (reason := state.get("signal")) else None,
        failing_since=_number(state.get("failingSince", 0.0)),
        fingerprint=str(state.get("fingerprint", "")),
        refused_scope_fingerprint=str(state.get("unscoped", "")),
        duplicate_of=str(state.get("twin", "")),
        namespace_uid=str(source.get("namespaceUid", "")),
        refresh_requested_at=_number(state.get("refreshRequestedAt", 0.0)),
        grant_type=GrantType(state.get("grantType", GrantType.REFRESH_TOKEN.value)),
        params=tuple((_text(name), _text(value)) for name, value in state.get("params", ())),
        login=_text(state.get("login", "")),
        login_generation=int(_number(state.get("loginGeneration", 0))),
    )


def _client(secret: Secret) -> Client:
    return Client(
        secret.data[annotations.KEY_CLIENT_ID].reveal(),
        secret.data[annotations.KEY_CLIENT_SECRET],
        secret.data.get(annotations.KEY_CLIENT_KEY, Sensitive("")),
    )


def _intent(stored: dict[str, Any]) -> Intent:
    intent = Intent(
        nonce=_text(stored["nonce"]),
        holder=_text(stored["holder"]),
        refresh_token_hash=_text(stored["rt"]),
        first_at=_number(stored["first_at"]),
        started_at=_number(stored["started_at"]),
        takeover_after=_number(stored["takeover_after"]),
        attempt=int(_number(stored["attempt"])),
        recorded=stored["recorded"],
    )
    if _intent_json(intent) != stored:
        raise ValueError("a key is unknown")
    return intent


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _number(value: Any) -> float:
    """Return a count, seconds, or an instant that RFC 3339 can express."""
    number = value if isinstance(value, int) else float(value)
    if not 0 <= number <= MAX_INSTANT:
        raise ValueError("not a count or an instant")
    return number


def _end(value: Any) -> float:
    """Return the end of a login; what earlier releases stored of one without end is 0."""
    endless = isinstance(value, int | float) and value > MAX_INSTANT
    return 0.0 if endless else _number(value)


_READERS = {_VERSION: _grant}
