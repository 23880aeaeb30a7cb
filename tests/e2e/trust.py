"""A client without any secret: its server trusts the refresher's tokens of this cluster."""

import json
from typing import Any

from csidriver.core.names import DRIVER_NAMESPACE, REFRESHER
from csidriver.demo.families import RegisteredClient, Trust
from tests.cluster.controlplane import ControlPlane
from tests.issuer.issuer import ScriptedIssuer

CLIENT = "batch"
# The only one that may use this client.
NAMESPACE = "trusted"
# The name of the driver's issuer, and of the token in the refresher's pod.
ISSUER = "cluster"


def client_of(plane: ControlPlane) -> RegisteredClient:
    """Return the client as its server registers it, with the keys of the API server."""
    account = f"system:serviceaccount:{DRIVER_NAMESPACE}:{REFRESHER}"
    keys = plane.api("GET", "/openid/v1/jwks")
    return RegisteredClient(CLIENT, None, trust=Trust(plane.server, account, keys))


def issuer_entry(server: ScriptedIssuer) -> dict[str, Any]:
    """Return the driver's configuration of the server for this client."""
    return {
        "name": ISSUER,
        "issuer": server.url,
        "internal": True,
        "clientAuth": "assertion",
        "assertion": {"file": f"/var/run/secrets/oauth2-csi/{ISSUER}/token"},
        "clients": [{"clientID": CLIENT, "namespaces": [NAMESPACE]}],
    }


def chart_value(server: ScriptedIssuer) -> str:
    """Return the chart's value that brings the token."""
    return f"refresher.assertions={json.dumps([{'name': ISSUER, 'audience': server.url}])}"
