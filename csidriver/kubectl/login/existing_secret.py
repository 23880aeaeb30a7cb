"""The Secret that has the name of a login already, and why a login may not change it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.login_command import describe_command
from csidriver.core.names import SourceRef
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.jwt import unverified_claims
from csidriver.core.oauth.token_document import DocumentError, TokenDocument
from csidriver.core.quoting import quote_untrusted
from csidriver.core.refresh.source import document_key, is_source
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed


@dataclass(frozen=True, slots=True)
class ExistingSecret:
    """A source as a login needs it, without its tokens.

    `issuer` is the annotation of the user, `bound_issuer` that of the refresher, `iss` the issuer
    in the present access token.
    """

    ref: SourceRef
    uid: str
    key: str
    client_id: str
    client_secret: Sensitive
    issuer: str
    bound_issuer: str
    iss: str
    resource_version: str = ""

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> "ExistingSecret":
        """Parse a Secret; raise LoginFailed with the cure if a login must not change it."""
        secret = Secret.from_manifest(manifest)
        ref = SourceRef(secret.namespace, secret.name)
        if fault := _fault(manifest, secret, ref):
            raise LoginFailed(fault)
        key = document_key(secret)
        empty = Sensitive("")
        return cls(
            ref=ref,
            uid=secret.uid,
            key=key,
            client_id=_credential(secret, annotations.KEY_CLIENT_ID).reveal(),
            client_secret=_credential(secret, annotations.KEY_CLIENT_SECRET),
            issuer=secret.annotations.get(annotations.ISSUER, ""),
            bound_issuer=secret.annotations.get(annotations.BOUND_ISSUER, ""),
            iss=_iss(secret.data.get(key, empty)),
            resource_version=secret.resource_version,
        )

    def has_same_owner(self, other: "ExistingSecret") -> bool:
        """Return True if a login for the other one is right for this one, too."""

        def owner(secret: ExistingSecret) -> tuple[object, ...]:
            return secret.uid, secret.key, secret.client_id, secret.client_secret, secret.issuer

        return owner(self) == owner(other)


def delete_command(ref: SourceRef) -> str:
    return f"kubectl delete secret {ref.name} -n {ref.namespace}"


def _fault(manifest: Mapping[str, Any], secret: Secret, ref: SourceRef) -> str:
    if (manifest.get("metadata") or {}).get("deletionTimestamp"):
        return f"Secret {ref} is being deleted; run the command again when it is gone"
    if not is_source(secret):
        mark = f"kubectl annotate secret {ref.name} -n {ref.namespace} {annotations.IS_TOKEN}=true"
        return (
            f"Secret {ref} exists and is no token: it has not the annotation "
            f"{annotations.IS_TOKEN}; choose another name, or if it is to become a token: {mark} "
            "--overwrite"
        )
    kind = secret.annotations.get(annotations.GRANT_TYPE) or GrantType.REFRESH_TOKEN.value
    if kind != GrantType.REFRESH_TOKEN.value:
        text = f"needs no login: its {annotations.GRANT_TYPE} is {quote_untrusted(kind)}"
        return f"Secret {ref} {text}; run: {describe_command(ref)}"
    if manifest.get("immutable"):
        return (
            f"Secret {ref} is immutable, so it cannot take a new login; choose another name, or "
            f"delete it first: {delete_command(ref)}"
        )
    return ""


def _credential(secret: Secret, key: str) -> Sensitive:
    # `echo` appends white space.
    return Sensitive(secret.data.get(key, Sensitive("")).reveal().strip())


def _iss(text: Sensitive) -> str:
    try:
        document, _ = TokenDocument.parse(text)
    except DocumentError:
        return ""
    return unverified_claims(document.access_token).iss.removesuffix("/")
