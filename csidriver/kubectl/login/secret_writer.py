"""The Secret that a login creates, or changes: rights first, then one `create` or `patch`."""

import base64
from dataclasses import dataclass
from typing import Any

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.absences import require_namespace
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import (
    AlreadyExists,
    Conflict,
    KubectlError,
    LoginFailed,
    NotFound,
)
from csidriver.kubectl.login.existing_secret import ExistingSecret

_MOST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class SecretContent:
    """The issuer, the client and the tokens that a login puts into its Secret."""

    issuer: Issuer
    client: Client
    document: TokenDocument


def find_secret(kubectl: Kubectl, ref: SourceRef) -> ExistingSecret | None:
    """Return the Secret of this name, None if there is none.

    Raise LoginFailed without rights, NotFound without a namespace.
    """
    _require(kubectl, "get", f"secrets/{ref.name}", ref)
    try:
        manifest = kubectl.get("secret", ref.name, f"--namespace={ref.namespace}")
    except NotFound:
        require_namespace(kubectl, ref.namespace)
        _require(kubectl, "create", "secrets", ref)
        return None
    existing = ExistingSecret.parse(manifest)
    _require(kubectl, "patch", f"secrets/{ref.name}", ref)
    return existing


def check_new(kubectl: Kubectl, ref: SourceRef, issuer: Issuer, client_id: str) -> None:
    """Let the cluster check the Secret without its secrets: namespace, quota, policies."""
    content = SecretContent(issuer, Client(client_id, Sensitive("")), TokenDocument({}))
    try:
        kubectl.try_create(new_manifest(ref, content))
    except KubectlError as error:
        # Said by the API server of a webhook with side effects.
        if "dry run" not in str(error):
            raise LoginFailed(f"the cluster would not take Secret {ref}: {error}") from None


def store(
    kubectl: Kubectl, ref: SourceRef, existing: ExistingSecret | None, content: SecretContent
) -> None:
    """Create the Secret, or put the login into the one that was found; raise LoginFailed."""
    try:
        if existing is None:
            kubectl.create(new_manifest(ref, content))
        else:
            _change(kubectl, ref, existing, content)
    except AlreadyExists:
        raise LoginFailed(
            f"somebody else has created Secret {ref} during the login, so it was left as it is; "
            "run the command again"
        ) from None
    except (Conflict, NotFound):
        raise LoginFailed(
            f"somebody else has deleted or changed Secret {ref} during the login, so it was left "
            "as it is; run the command again"
        ) from None
    except KubectlError as error:
        if state := _state_after_failure(kubectl, ref, existing, content):
            raise LoginFailed(
                f"the login succeeded, but Secret {ref} was not written: {error}; {state}; when "
                "the cause is mended, run the command again"
            ) from None


def _state_after_failure(
    kubectl: Kubectl, ref: SourceRef, existing: ExistingSecret | None, content: SecretContent
) -> str:
    """Return the state after a failed write, "" if the login is there: only the reply was lost."""
    key = annotations.KEY_OAUTH if existing is None else existing.key
    try:
        manifest = kubectl.get("secret", ref.name, f"--namespace={ref.namespace}")
    except NotFound:
        return "there is still no such Secret" if existing is None else "the Secret is gone"
    except KubectlError:
        return "it cannot be read now, so it may be unchanged or have the new login"
    data = manifest.get("data") or {}
    return "" if data.get(key) == _encoded(content.document.to_json()) else "it is unchanged"


def _change(
    kubectl: Kubectl, ref: SourceRef, existing: ExistingSecret, content: SecretContent
) -> None:
    """Put the login into the Secret if it is still the one that was checked; raise Conflict.

    The refresher may write between the read and the patch.
    """
    for attempt in range(_MOST_ATTEMPTS):
        found = ExistingSecret.parse(
            kubectl.get("secret", ref.name, f"--namespace={ref.namespace}")
        )
        if not found.has_same_owner(existing):
            raise Conflict("it is of another owner")
        try:
            kubectl.patch("secret", ref.name, ref.namespace, merge_patch(found, content))
        except Conflict:
            if attempt == _MOST_ATTEMPTS - 1:
                raise
        else:
            return


def new_manifest(ref: SourceRef, content: SecretContent) -> dict[str, Any]:
    """Return the manifest of a new Secret, which holds secrets in the clear."""
    marks = {annotations.IS_TOKEN: "true"}
    if content.issuer.name:
        marks[annotations.ISSUER] = content.issuer.name
    data = {
        annotations.KEY_OAUTH: content.document.to_json(),
        annotations.KEY_CLIENT_ID: Sensitive(content.client.client_id),
    }
    if content.client.client_secret:
        data[annotations.KEY_CLIENT_SECRET] = content.client.client_secret
    return Secret(ref.namespace, ref.name, annotations=marks, data=data).to_manifest()


def merge_patch(existing: ExistingSecret, content: SecretContent) -> dict[str, Any]:
    """Return the change of an existing Secret: its document, and what it lacked or had wrong.

    The API server refuses it if the Secret has changed since it was read.
    """
    data = {existing.key: content.document.to_json()}
    if not existing.client_id:
        data[annotations.KEY_CLIENT_ID] = Sensitive(content.client.client_id)
    if content.client.client_secret != existing.client_secret:
        data[annotations.KEY_CLIENT_SECRET] = content.client.client_secret
    metadata: dict[str, Any] = {
        "uid": existing.uid,
        "resourceVersion": existing.resource_version,
    }
    # The default issuer needs no name, and GitOps tools like to see no change that is not needed.
    if not existing.issuer and content.issuer.name and not content.issuer.default:
        metadata["annotations"] = {annotations.ISSUER: content.issuer.name}
    return {"metadata": metadata, "data": {key: _encoded(value) for key, value in data.items()}}


def _require(kubectl: Kubectl, verb: str, resource: str, ref: SourceRef) -> None:
    if kubectl.can_i(verb, resource, ref.namespace):
        return
    kind, _, name = resource.partition("/")
    raise LoginFailed(
        f"you may not {verb} {kind} {name}".rstrip()
        + f" in namespace {ref.namespace}; ask its administrator for the rights get, create and "
        f"patch, for example: kubectl create rolebinding tokens --clusterrole=edit --user=YOU "
        f"-n {ref.namespace}"
    )


def _encoded(value: Sensitive) -> str:
    return base64.b64encode(value.reveal().encode()).decode("ascii")
