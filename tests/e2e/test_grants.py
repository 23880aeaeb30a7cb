"""A token of a client without any secret: its server trusts the refresher's ServiceAccount."""

from collections.abc import Iterator

import pytest

from csidriver.core.annotations import GRANT_TYPE, IS_TOKEN, ISSUER, MESSAGE
from csidriver.core.oauth.grant_type import GrantType
from csidriver.demo.grants.grant_log import GrantRequest
from tests.e2e import trust
from tests.e2e.cluster import Cluster
from tests.e2e.user_namespace import TokenFile, UserNamespace, inject, new_user_namespace, pod
from tests.issuer.issuer import ScriptedIssuer

PATH = "/tmp/oauthtk_0"


@pytest.fixture
def trusted(driver: Cluster) -> Iterator[UserNamespace]:
    """The namespace that may use the client."""
    yield new_user_namespace(driver, trust.NAMESPACE)
    driver.kubectl("delete", "namespace", trust.NAMESPACE, "--wait=false")


def assert_is_of_the_client(issuer: ScriptedIssuer, file: TokenFile) -> None:
    claims = issuer.verify(file.content) or {}
    assert (claims.get("sub"), claims.get("aud")) == (trust.CLIENT, trust.CLIENT)


def requests(issuer: ScriptedIssuer) -> list[GrantRequest]:
    return [row for row in issuer.grants.requests() if row.client_id == trust.CLIENT]


def test_a_pod_has_a_token_of_a_client_without_any_secret(
    trusted: UserNamespace, user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    noted = {IS_TOKEN: "true", GRANT_TYPE: GrantType.CLIENT_CREDENTIALS.value, ISSUER: trust.ISSUER}
    batch = {"apiVersion": "v1", "kind": "Secret", "stringData": {"clientID": trust.CLIENT}}
    batch["metadata"] = {"name": "batch", "annotations": noted}
    user.apply(batch)
    user.wait_for_status("batch", "Misconfigured")
    message = user.get("secret", "batch")["metadata"]["annotations"][MESSAGE]
    assert f"does not let namespace {user.name!r} use this clientID" in message
    assert requests(issuer) == []

    trusted.apply(batch, pod("main", inject("batch", 0)))
    trusted.wait_until_running("main")
    first = trusted.file("main", PATH)
    assert_is_of_the_client(issuer, first)
    second = trusted.wait_for_change("main", PATH, first)
    assert_is_of_the_client(issuer, second)
    assert second.inode == first.inode
    for request in requests(issuer):
        assert request.every("client_assertion")
        assert not request.every("client_secret")
