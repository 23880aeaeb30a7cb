"""A realm of Keycloak whose clients use grants without a refresh token."""

import json
from typing import Any

from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.cluster.controlplane import ControlPlane
from tests.demo.grants.signing import signing_key
from tests.peers.keycloak import Keycloak, Realm
from tests.refresher.bench import NAMESPACE

# A confidential client with a service account, which may exchange tokens.
ROBOT = Client("robot", Sensitive("secret of robot"))
# One that signs assertions (private_key_jwt), and one that trusts a ServiceAccount.
SIGNER = Client("signer", Sensitive(""), signing_key().private_pem)
JOB = Client("job", Sensitive(""))
# Resource servers, and the client scopes that bring a token their audience.
STORAGE, COMPUTE = "storage", "compute"
SERVICE_ACCOUNT = "job"
# The attribute of a client that may exchange tokens.
TOKEN_EXCHANGE = "standard.token.exchange.enabled"
_SUBJECT = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"


def grants_realm(keycloak: Keycloak, name: str, lifetime: int) -> Realm:
    """Make a realm; `lifetime` is that of access tokens, in seconds."""
    realm = keycloak.realm(name, accessTokenLifespan=lifetime)
    here = f"/admin/realms/{name}"
    for audience in (STORAGE, COMPUTE):
        keycloak.administer("POST", f"{here}/clients", {"clientId": audience})
        keycloak.administer("POST", f"{here}/client-scopes", _audience_scope(audience))
    common = {
        "serviceAccountsEnabled": True,
        "optionalClientScopes": [STORAGE, COMPUTE, "offline_access"],
    }
    robot = {
        "clientId": ROBOT.client_id,
        "secret": ROBOT.client_secret.reveal(),
        "directAccessGrantsEnabled": True,
        "attributes": {TOKEN_EXCHANGE: "true"},
    }
    signer = {
        "clientId": SIGNER.client_id,
        "clientAuthenticatorType": "client-jwt",
        "attributes": {"use.jwks.string": "true", "jwks.string": json.dumps(signing_key().jwks)},
    }
    for client in (robot, signer):
        keycloak.administer("POST", f"{here}/clients", client | common)
    return realm


def trust_cluster(keycloak: Keycloak, name: str, plane: ControlPlane) -> None:
    """Let a realm's client `job` authenticate as a ServiceAccount of a cluster.

    Keycloak fetches the cluster's discovery document and keys without credentials.
    """
    role = "--clusterrole=system:service-account-issuer-discovery"
    group = "--group=system:unauthenticated"
    plane.kubectl("create", "clusterrolebinding", "discovery", role, group)
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.kubectl("create", "serviceaccount", SERVICE_ACCOUNT, f"--namespace={NAMESPACE}")
    provider = {
        "alias": "kubernetes",
        "providerId": "kubernetes",
        "enabled": True,
        "config": {"issuer": plane.server},
    }
    job = {
        "clientId": JOB.client_id,
        "clientAuthenticatorType": "federated-jwt",
        "serviceAccountsEnabled": True,
        "attributes": {"jwt.credential.issuer": "kubernetes", "jwt.credential.sub": _SUBJECT},
    }
    here = f"/admin/realms/{name}"
    keycloak.administer("POST", f"{here}/identity-provider/instances", provider)
    keycloak.administer("POST", f"{here}/clients", job)


def service_account_token(plane: ControlPlane, audience: str) -> str:
    """Return a new token of the ServiceAccount, as kubelet projects it for an hour."""
    where = (f"--namespace={NAMESPACE}", f"--audience={audience}", "--duration=3600s")
    return plane.kubectl("create", "token", SERVICE_ACCOUNT, *where).strip()


def _audience_scope(audience: str) -> dict[str, Any]:
    mapper = {
        "name": audience,
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {"included.client.audience": audience, "access.token.claim": "true"},
    }
    return {
        "name": audience,
        "protocol": "openid-connect",
        "attributes": {"include.in.token.scope": "true"},
        "protocolMappers": [mapper],
    }
