"""What the broker asks of the API server; what a real one answers is in tests/cluster."""

import base64
import threading
from collections.abc import Mapping

import pytest

from csidriver.adapters.kubernetes import BrokerBackend, KubernetesClient
from csidriver.core.annotations import COMPANION_SECRET_TYPE, SOURCE_NAME, SOURCE_NAMESPACE
from csidriver.core.broker.caller import token_review
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.kubernetes.change import Namespaces, SecretChange, TokenObject
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreRefused, StoreUnavailable
from tests.adapters.kubernetes.requests import NEEDLE, REF, manifest, status
from tests.adapters.kubernetes.scripted import Says, Scripted, Stream
from tests.adapters.kubernetes.watching import COMPANIONS, FakeCollections, watch_event

METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@pytest.fixture
def backend(client: KubernetesClient) -> BrokerBackend:
    return BrokerBackend(client)


def test_a_failed_review_shows_no_token(api: Scripted, backend: BrokerBackend) -> None:
    api.answering = lambda _: status(500)
    with pytest.raises(StoreUnavailable) as failed:
        backend.review_token(token_review(Sensitive(NEEDLE)))
    assert NEEDLE not in f"{failed.value!r} {failed.value}"


@pytest.mark.parametrize(("cached", "query"), [(True, {"resourceVersion": "0"}), (False, {})])
def test_a_pod_is_read_from_the_cache_or_as_it_is(
    api: Scripted, backend: BrokerBackend, *, cached: bool, query: Mapping[str, str]
) -> None:
    pod = {"metadata": {"uid": "u-1"}, "spec": {"nodeName": "node-a"}}
    api.answering = lambda _: Says(pod)
    assert backend.get_pod("alice", "web", cached=cached) == pod
    [asked] = api.asked
    assert (asked.path, asked.query) == ("/api/v1/namespaces/alice/pods/web", query)


def test_the_pods_of_a_node_are_listed_by_metadata_in_enrolled_namespaces_only(
    api: Scripted, client: KubernetesClient
) -> None:
    metadata = {"namespace": "alice", "name": "web", "uid": "u-web"}
    page = {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": metadata}]}
    api.answering = lambda _: Says(page)
    web, earlier = PodRef("alice", "web", "u-web"), PodRef("bob", "db", "u-0")
    for namespaces, paths in (
        (Namespaces(), {"/api/v1/pods"}),
        (Namespaces(sources=("alice", "bob", "carol")), {path("alice"), path("bob")}),
    ):
        api.asked.clear()
        backend = BrokerBackend(client, namespaces)
        assert backend.ended_pods(frozenset({web, earlier}), "node-a") == {earlier}
        assert {asked.path for asked in api.asked} == paths
    for asked in api.asked:
        assert asked.headers["Accept"] == METADATA
        assert asked.query == {"limit": "500", "fieldSelector": "spec.nodeName=node-a"}


def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def test_of_an_enrolled_namespace_that_refuses_access_no_pod_has_ended(
    api: Scripted, client: KubernetesClient
) -> None:
    refused = status(403, message="pods is forbidden: User cannot list ")
    api.answering = lambda asked: (
        refused
        if "/alice/" in asked.path
        else Says({"metadata": {"resourceVersion": "9"}, "items": []})
    )
    backend = BrokerBackend(client, Namespaces(sources=("alice", "bob")))
    web, db = PodRef("alice", "web", "u-1"), PodRef("bob", "db", "u-2")
    assert backend.ended_pods(frozenset({web, db}), "node-a") == {db}
    api.answering = lambda _: refused
    with pytest.raises(StoreRefused):
        BrokerBackend(client).ended_pods(frozenset({web, db}), "node-a")


def test_companions_are_watched_and_nothing_else(
    fake_collections: FakeCollections, backend: BrokerBackend
) -> None:
    annotations = {SOURCE_NAMESPACE: REF.namespace, SOURCE_NAME: REF.name}
    metadata = {"namespace": "oauth2-csi-tokens", "annotations": annotations}
    listed = manifest("7", name=REF.companion, **metadata)
    fake_collections.items[COMPANIONS] = [listed]
    changed = manifest("8", name=REF.companion, **metadata)
    for each, token in ((listed, "of-the-list"), (changed, NEEDLE)):
        each["data"] = {"access_token": base64.b64encode(token.encode()).decode()}
    fake_collections.next(COMPANIONS, Stream(watch_event("MODIFIED", changed)), watch=True)
    stop = threading.Event()
    watch = backend.watch_changes(stop)
    told = [next(watch) for _ in range(3)]
    stop.set()
    watch.close()
    assert told[:2] == [SecretChange(REF, TokenObject.COMPANION, "7"), None]
    contents = [change.content for change in told if change and change.content]
    tokens = [content.data["access_token"].reveal() for content in contents]
    assert tokens == ["of-the-list", NEEDLE]
    assert NEEDLE not in repr(told)
    asked = fake_collections.api.asked
    assert {each.headers["Accept"] for each in asked} == {"application/json"}
    assert {each.path for each in asked} == {COMPANIONS}
    assert {each.query["fieldSelector"] for each in asked} == {f"type={COMPANION_SECRET_TYPE}"}
