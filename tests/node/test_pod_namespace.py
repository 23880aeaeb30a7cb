"""A namespace is deleted and made again under its name while the node has its companion."""

from dataclasses import replace

import pytest

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.volume.attributes import VolumeAttributes
from csidriver.errors import StoreRefused, TokenUnavailable
from csidriver.node.pod_namespace import check_namespace
from csidriver.node.volume_record import VolumeRecord
from tests.node.plugin import NAMESPACE, SOURCE, companion, token
from tests.node.test_companion_watcher import FakeCompanions

pytestmark = pytest.mark.mounts
ATTRIBUTES = VolumeAttributes.parse({"secretName": SOURCE.name}, "0")


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

    if error is None:
        kept = check_namespace(record, given, Reader(answer))
        assert kept == replace(record, namespace_uid=owner)
        return
    with pytest.raises(error) as caught:
        check_namespace(record, given, Reader(answer))
    cure = f"run: kubectl oauth2-csi login hello-token -n {NAMESPACE}"
    assert (cure in str(caught.value)) == (error is TokenUnavailable)
