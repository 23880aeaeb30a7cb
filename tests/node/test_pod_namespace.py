"""A namespace is deleted and made again under its name while the node has its companion."""

import shutil
from dataclasses import replace

import pytest

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.volume.attributes import VolumeAttributes
from csidriver.errors import StoreRefused, TokenUnavailable
from csidriver.node.pod_namespace import check_namespace
from csidriver.node.volume_record import VolumeRecord
from tests.node.plugin import NAMESPACE, SOURCE, Node, companion, eventually, token
from tests.node.test_companion_watcher import FakeCompanions

pytestmark = pytest.mark.mounts
ATTRIBUTES = VolumeAttributes.parse({"secretName": SOURCE.name}, "0")


def write_token(node: Node, value: str, owner: str, generation: int = 1) -> None:
    node.write_companion(companion(token(value), generation, namespace_uid=owner))


def own_uid(node: Node) -> str:
    (node.store_root / NAMESPACE).mkdir(parents=True, exist_ok=True)
    return node.plugin_store.get_namespace_uid(NAMESPACE)


def test_a_pod_that_outlives_its_namespace_gets_no_token_of_a_later_one(node: Node) -> None:
    node.write_token("at-0")
    node.publish(node.request("of-no-owner"))
    write_token(node, "at-1", own_uid(node), 2)
    eventually(lambda: node.content("of-no-owner") == "at-1")
    node.publish(node.request())
    node.stop()
    node.start()
    shutil.rmtree(node.store_root / NAMESPACE)
    write_token(node, "at-2", own_uid(node), 3)
    # A companion of an earlier release names no owner, and its volume is served on.
    eventually(lambda: node.content("of-no-owner") == "at-2")
    assert node.content() == "at-1"


class Reader(FakeCompanions):
    def __init__(self, answer: str | StoreRefused) -> None:
        super().__init__()
        self.answer = answer

    def get_namespace_uid(self, pod: PodRef, secret: str) -> str:
        assert (pod.namespace, secret) == (NAMESPACE, SOURCE.name)
        if isinstance(self.answer, StoreRefused):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("owner", "answer", "error"),
    [
        ("", StoreRefused("no right"), None),
        ("uid-1", "uid-1", None),
        ("uid-1", "uid-2", TokenUnavailable),
        ("uid-1", "", TokenUnavailable),
        ("uid-1", StoreRefused("no right"), StoreRefused),
    ],
)
def test_the_owner_is_compared_and_kept(
    owner: str, answer: str | StoreRefused, error: type[Exception] | None
) -> None:
    record = VolumeRecord("v1", "/pods/x/mount", NAMESPACE, "pod", "uid", ATTRIBUTES)
    given: Companion = companion(token("at-1"), namespace_uid=owner)

    def check() -> VolumeRecord:
        return check_namespace(record, given, Reader(answer))

    if error is None:
        assert check() == replace(record, namespace_uid=owner)
        return
    with pytest.raises(error) as caught:
        check()
    if error is TokenUnavailable:
        assert f"belongs to an earlier namespace {NAMESPACE}" in str(caught.value)
        assert f"run: kubectl oauth2-csi login hello-token -n {NAMESPACE}" in str(caught.value)
