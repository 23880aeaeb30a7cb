"""Everything that root on node A can ask for, and the reason why it gets nothing."""

from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.broker.pod_access import AccessRequest, PodRef, check_access
from csidriver.core.names import DRIVER_NAME
from tests.core.changed import ABSENT, changed

POD = PodRef("alice", "web", "u-1")
REQUEST = AccessRequest(POD, "hello-token")
TEMPLATE = AccessRequest(POD, "page", is_template=True)
ATTRIBUTES = {"secretName": "hello-token", "owner": "1000", "templateConfigMapName": "page"}


def volume(driver: str = DRIVER_NAME, **attributes: str) -> dict[str, Any]:
    return {"name": "token", "csi": {"driver": driver, "volumeAttributes": attributes}}


MANIFEST: dict[str, Any] = {
    "metadata": {"namespace": "alice", "name": "web", "uid": "u-1"},
    "spec": {
        "nodeName": "node-a",
        "serviceAccountName": "default",
        "volumes": [{"name": "scratch", "emptyDir": {}}, volume(**ATTRIBUTES)],
    },
    "status": {"phase": "Running"},
}


def reason_for(
    manifest: dict[str, Any] | None, request: AccessRequest = REQUEST, node: str = "node-a"
) -> Denial | None:
    try:
        check_access(manifest, request, node)
    except Denied as denied:
        return denied.reason
    return None


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(changed(MANIFEST, "status", ABSENT), id="without a status"),
        pytest.param(
            changed(MANIFEST, "metadata deletionTimestamp", "2026-11-28T22:00:00Z"),
            id="shutting down",
        ),
    ],
)
def test_a_pod_on_the_node_gets_what_its_volume_names(manifest: dict[str, Any]) -> None:
    assert reason_for(manifest) is reason_for(manifest, TEMPLATE) is None


OTHER = replace(REQUEST, name="other")
DENIED: dict[Denial, dict[str, dict[str, Any] | None]] = {
    Denial.POD_ABSENT: {"deleted": None},
    Denial.POD_REPLACED: {"another uid": changed(MANIFEST, "metadata uid", "u-2")},
    Denial.OTHER_NODE: {
        "pod of B": changed(MANIFEST, "spec nodeName", "node-b"),
        "not bound yet": changed(MANIFEST, "spec nodeName", ABSENT),
    },
    Denial.STATIC_POD: {
        "mirror": changed(MANIFEST, "metadata annotations", {"kubernetes.io/config.mirror": "1"}),
        "no account": changed(MANIFEST, "spec serviceAccountName", ABSENT),
    },
    Denial.POD_ENDED: {"failed": changed(MANIFEST, "status phase", "Failed")},
    Denial.NOT_IN_POD: {
        "another driver": changed(MANIFEST, "spec volumes", [volume("other", **ATTRIBUTES)]),
        "no volumes": changed(MANIFEST, "spec volumes", ABSENT),
    },
}


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        pytest.param(manifest, reason, id=name)
        for reason, manifests in DENIED.items()
        for name, manifest in manifests.items()
    ],
)
def test_everything_else_is_denied(manifest: dict[str, Any] | None, reason: Denial) -> None:
    assert reason_for(manifest) is reason


@pytest.mark.parametrize(
    "request_",
    [
        *(OTHER, replace(REQUEST, name="page")),
        *(replace(TEMPLATE, name=name) for name in ("other", "hello-token")),
    ],
    ids=repr,
)
def test_what_the_volumes_do_not_name_is_denied(request_: AccessRequest) -> None:
    annotated = {"oauth2-refresh-controller.cern.ch/to-inject": '[{"secretName": "other"}]'}
    for manifest in (MANIFEST, changed(MANIFEST, "metadata annotations", annotated)):
        assert reason_for(manifest, request_) is Denial.NOT_IN_POD


def test_a_caller_without_a_node_gets_no_pod_without_a_node() -> None:
    assert reason_for(changed(MANIFEST, "spec nodeName", ""), node="") is Denial.OTHER_NODE


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, pod=replace(POD, namespace="../kube-system")),
        replace(REQUEST, pod=replace(POD, name="web?watch=true")),
        replace(REQUEST, pod=replace(POD, uid="x" * 65)),
        replace(REQUEST, pod=replace(POD, uid="a\nb")),
        replace(TEMPLATE, name="A"),
    ],
    ids=repr,
)
def test_a_request_must_name_objects(request_: AccessRequest) -> None:
    with pytest.raises(Denied) as denied:
        request_.validate()
    assert denied.value.reason is Denial.INVALID_REQUEST
    REQUEST.validate()
    TEMPLATE.validate()
