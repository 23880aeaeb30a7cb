"""Sources of grants without a refresh token, in a virtual cluster."""

from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from tests.core.refresh.virtual_cluster import REF, Process, VirtualCluster

CLIENT = {"clientID": "robot", "clientSecret": "s3cret"}
LOGIN = SourceRef("physics", "alice")
# It lets sources set what the annotations of their own stand for, and one name more.
OPEN = Issuer(
    "cern",
    issuer="https://auth.example",
    default=True,
    allowed_params=("scope", "audience", "resource", "tenant"),
)


def put_client(cluster: VirtualCluster, ref: SourceRef = REF, /, **notes: str | None) -> Secret:
    return cluster.put(CLIENT, ref, **({"grant_type": "client_credentials"} | notes))


def put_derived(cluster: VirtualCluster, **notes: str | None) -> Secret:
    return cluster.put({}, REF, **({"grant_type": "token-exchange", "login": LOGIN.name} | notes))


def forms(cluster: VirtualCluster) -> list[list[tuple[str, str]]]:
    return [form for _, _, form in cluster.server.forms]


def served(cluster: VirtualCluster, ref: SourceRef = REF) -> str:
    """The access token that nodes have, "" without one."""
    token = cluster.companion(ref).token
    return token.value.reveal() if token else ""


def process(cluster: VirtualCluster, issuer: Issuer = OPEN, ref: SourceRef = REF) -> Process:
    return Process(cluster, issuer=issuer, ref=ref)
