"""What the operator's configuration permits (docs/protocol.md 10.1)."""

from dataclasses import replace

import pytest

from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import AssertionSettings, OperatorClient
from csidriver.core.refresh.ownership import check_request
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.errors import NoIssuer
from tests.core.refresh.sending.sources import LOGIN, process, put_derived
from tests.core.refresh.sending.test_derived import Pair
from tests.core.refresh.virtual_cluster import LIFE, REF, VirtualCluster, document

TRUSTED = Issuer(
    "cern",
    issuer="https://auth.example",
    default=True,
    client_auth="assertion",
    assertion=AssertionSettings("/token"),
    clients=(OperatorClient("robot", ("physics",)),),
)
ROBOT = Client("robot", Sensitive(""))


@pytest.mark.parametrize(
    ("ref", "client", "issuer"),
    [
        (SourceRef("biology", "x"), ROBOT, TRUSTED),
        (REF, Client("other", Sensitive("")), TRUSTED),
        (REF, ROBOT, replace(TRUSTED, clients=())),
    ],
    ids=["namespace", "client", "nobody"],
)
def test_any_other_sends_nothing(ref: SourceRef, client: Client, issuer: Issuer) -> None:
    with pytest.raises(NoIssuer, match="ask the operator to add both to clients"):
        check_request(ref, client, (), issuer)


@pytest.mark.parametrize(
    ("issuer", "secret", "expected"),
    [
        (TRUSTED, "", "Ready"),
        (TRUSTED, "s3cret", "Invalid"),
        (replace(TRUSTED, clients=()), "", "Misconfigured"),
    ],
)
def test_it_holds_for_refresh_tokens(issuer: Issuer, secret: str, expected: str) -> None:
    cluster = VirtualCluster()
    keys = {"clientID": "robot", "clientSecret": secret}
    cluster.put(keys | {"oauth": document(cluster.server.login("alice"))})
    process(cluster, issuer).reconcile()
    assert cluster.status() == expected, cluster.message()
    assert len(cluster.server.presented) == (expected == "Ready")


@pytest.mark.parametrize(
    "edit", [{"clientID": "other"}, {"clientSecret": "s3cret"}], ids=["client", "secret"]
)
def test_a_login_lends_no_client_that_it_may_not_send_itself(edit: dict[str, str]) -> None:
    """An edit of the login's client does not end its access token."""
    cluster = VirtualCluster()
    other = OperatorClient("other", ("biology",))
    pair = Pair(cluster, replace(TRUSTED, clients=(*TRUSTED.clients, other)))
    keys = {"clientID": "robot", "oauth": document(cluster.server.login("alice"))}
    cluster.put(keys, LOGIN)
    put_derived(cluster)
    pair.reconcile()
    seen = cluster.source(LOGIN)
    cluster.put(keys | {"oauth": seen.data["oauth"].reveal()} | edit, LOGIN)
    pair.event(pair.login)
    pair.run_for(2 * LIFE)
    assert [client for _, client, _ in cluster.server.forms] == ["robot"]
    assert cluster.status() == "WaitsForLogin"
    assert "Secret alice, from whose access token this one is made" in cluster.message()
