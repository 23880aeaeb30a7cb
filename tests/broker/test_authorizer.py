from dataclasses import replace
from typing import Any

import pytest

from csidriver.broker.authorizer import Authorizer
from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.broker.pod_access import AccessRequest, PodRef
from csidriver.core.sensitive import Sensitive
from tests.broker.conftest import WEB
from tests.broker.fakes import ACCOUNT, FakeCluster, pod_manifest, review

REQUEST = AccessRequest(WEB, "hello-token")
TOKEN = Sensitive("of-a")


@pytest.fixture
def authorizer(cluster: FakeCluster) -> Authorizer:
    return Authorizer(cluster, ACCOUNT)


def reason(authorizer: Authorizer, request: AccessRequest, node: str = "node-a") -> Denial:
    with pytest.raises(Denied) as denied:
        authorizer.authorize(request, node)
    return denied.value.reason


def test_a_running_pod_costs_a_read_from_the_cache(
    cluster: FakeCluster, authorizer: Authorizer
) -> None:
    assert authorizer.authorize(REQUEST, "node-a") == "n-1"
    assert cluster.reads == ["cached pod", "namespace"]


@pytest.mark.parametrize(
    "lagging",
    [None, pod_manifest(replace(WEB, uid="u-0"), "node-a"), pod_manifest(WEB, "", "hello-token")],
    ids=["absent", "an earlier pod", "not bound yet"],
)
def test_a_lagging_cache_denies_nobody(
    cluster: FakeCluster, authorizer: Authorizer, lagging: dict[str, Any] | None
) -> None:
    cluster.cached["alice", "web"] = lagging
    assert authorizer.authorize(REQUEST, "node-a") == "n-1"
    assert cluster.reads == ["cached pod", "pod", "namespace"]


def test_a_denial_is_that_of_the_api_server_itself(
    cluster: FakeCluster, authorizer: Authorizer
) -> None:
    cluster.cached["alice", "web"] = None
    assert reason(authorizer, REQUEST, "node-b") is Denial.OTHER_NODE
    del cluster.pods[WEB]
    assert reason(authorizer, REQUEST) is Denial.POD_ABSENT


def test_the_token_tells_the_node_and_at_an_older_api_server_the_plugins_pod_does(
    cluster: FakeCluster, authorizer: Authorizer
) -> None:
    assert authorizer.node_of_token(TOKEN) == "node-a"
    assert cluster.reads == ["review"]
    cluster.reviews["of-a"] = review("")
    with pytest.raises(Denied) as denied:
        authorizer.node_of_token(TOKEN)
    assert denied.value.reason is Denial.POD_ABSENT
    cluster.add_pod(PodRef("oauth2-csi", "plugin-", "uid-plugin-"), "node-a")
    assert authorizer.node_of_token(TOKEN) == "node-a"


def test_only_deleted_pods_have_ended(cluster: FakeCluster, authorizer: Authorizer) -> None:
    earlier = PodRef("alice", "web", "u-0")
    assert authorizer.ended_pods(frozenset({WEB, earlier}), "node-a") == {earlier}
    assert authorizer.ended_pods(frozenset(), "node-a") == frozenset()
    assert cluster.reads == ["pods"]
