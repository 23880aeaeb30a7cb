"""The checks of what the operator permits a source to send (docs/protocol.md 10.1, 10.2)."""

from csidriver.core.annotations import KEY_CLIENT_KEY, KEY_CLIENT_SECRET
from csidriver.core.login_command import ask_for_login
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import Params
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.sending.params import refused_param
from csidriver.core.refresh.source import Client
from csidriver.core.refresh.state import RefreshContext
from csidriver.errors import InvalidSecret, NoIssuer


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
    if bound.namespaces and grant.ref.namespace not in bound.namespaces:
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
    own = {KEY_CLIENT_SECRET: client.client_secret, KEY_CLIENT_KEY: client.private_key}
    problems = [
        f"key {key} is not for issuer {issuer.name!r}, which trusts the driver itself; remove it"
        for key, value in own.items()
        if value
    ]
    if problems:
        raise InvalidSecret(f"Secret {ref}", problems)
