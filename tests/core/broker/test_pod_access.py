"""Everything that root on node A can ask for, and the reason why it gets nothing."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.broker.pod_access import (
    AccessRequest,
    PodRef,
    check_access,
    existing_pod,
    node_of,
)
from csidriver.core.names import DRIVER_NAME

POD = PodRef("alice", "web", "u-1")
REQUEST = AccessRequest(POD, "hello-token")
TEMPLATE = AccessRequest(POD, "page", is_template=True)
VOLUME = {
    "name": "token",
    "csi": {
        "driver": DRIVER_NAME,
        "readOnly": True,
        "volumeAttributes": {
            "secretName": "hello-token",
            "owner": "1000",
            "templateConfigMapName": "page",
        },
    },
}
MANIFEST: dict[str, Any] = {
    "metadata": {"namespace": "alice", "name": "web", "uid": "u-1"},
    "spec": {
        "nodeName": "node-a",
        "serviceAccountName": "default",
        "volumes": [{"name": "scratch", "emptyDir": {}}, VOLUME],
    },
    "status": {"phase": "Running"},
}
DELETE = object()


def pod(**changes: Any) -> dict[str, Any]:
    """The pod with other values, by the path to them: `spec__nodeName`."""
    manifest = copy.deepcopy(MANIFEST)
    for path, value in changes.items():
        *parents, last = path.split("__")
        holder = manifest
        for key in parents:
            holder = holder[key]
        if value is DELETE:
            del holder[last]
        else:
            holder[last] = value
    return manifest


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
        pytest.param(pod(status__phase="Pending"), id="before its first start"),
        pytest.param(pod(status=DELETE), id="without a status"),
        pytest.param(pod(metadata__deletionTimestamp="2026-11-28T22:00:00Z"), id="shutting down"),
        pytest.param(pod(metadata__annotations={"a": "b"}), id="with annotations"),
    ],
)
def test_a_pod_on_the_node_gets_what_its_volume_names(manifest: dict[str, Any]) -> None:
    assert reason_for(manifest) is reason_for(manifest, TEMPLATE) is None


MIRROR = {"kubernetes.io/config.mirror": "1"}
OTHER_DRIVER = copy.deepcopy(VOLUME)
OTHER_DRIVER["csi"]["driver"] = "secrets-store.csi.k8s.io"  # type: ignore[index]
ANNOTATED = {"oauth2-refresh-controller.cern.ch/to-inject": '[{"secretName": "other"}]'}
OTHER = replace(REQUEST, name="other")


@pytest.mark.parametrize(
    ("manifest", "request_", "reason"),
    [
        pytest.param(None, REQUEST, Denial.POD_ABSENT, id="deleted"),
        pytest.param(pod(metadata__uid="u-2"), REQUEST, Denial.POD_REPLACED, id="replaced"),
        pytest.param(pod(spec__nodeName="node-b"), REQUEST, Denial.OTHER_NODE, id="pod of B"),
        pytest.param(pod(spec__nodeName=DELETE), REQUEST, Denial.OTHER_NODE, id="not bound yet"),
        pytest.param(
            pod(metadata__annotations=MIRROR), REQUEST, Denial.STATIC_POD, id="static pod"
        ),
        pytest.param(
            pod(spec__serviceAccountName=DELETE), REQUEST, Denial.STATIC_POD, id="no account"
        ),
        pytest.param(pod(status__phase="Succeeded"), REQUEST, Denial.POD_ENDED, id="succeeded"),
        pytest.param(pod(status__phase="Failed"), REQUEST, Denial.POD_ENDED, id="failed"),
        *(
            pytest.param(MANIFEST, request, Denial.NOT_IN_POD, id=f"not its {request.name}")
            for request in (
                *(OTHER, replace(TEMPLATE, name="other"), replace(REQUEST, name="page")),
                replace(TEMPLATE, name="hello-token"),
            )
        ),
        pytest.param(
            pod(metadata__annotations=ANNOTATED), OTHER, Denial.NOT_IN_POD, id="annotation"
        ),
        pytest.param(
            pod(spec__volumes=[OTHER_DRIVER]), REQUEST, Denial.NOT_IN_POD, id="another driver"
        ),
        pytest.param(pod(spec__volumes=DELETE), REQUEST, Denial.NOT_IN_POD, id="no volumes"),
        pytest.param(
            pod(spec__volumes=[{"name": "x", "secret": {"secretName": "hello-token"}}]),
            REQUEST,
            Denial.NOT_IN_POD,
            id="volume of the Secret itself",
        ),
    ],
)
def test_everything_else_is_denied(
    manifest: dict[str, Any] | None, request_: AccessRequest, reason: Denial
) -> None:
    assert reason_for(manifest, request_) is reason


def test_a_caller_without_a_node_gets_no_pod_without_a_node() -> None:
    assert reason_for(pod(spec__nodeName=""), node="") is Denial.OTHER_NODE


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, pod=replace(POD, namespace="../kube-system")),
        replace(REQUEST, pod=replace(POD, namespace="")),
        replace(REQUEST, pod=replace(POD, name="web?watch=true")),
        replace(REQUEST, pod=replace(POD, uid="")),
        replace(REQUEST, pod=replace(POD, uid="x" * 65)),
        replace(REQUEST, pod=replace(POD, uid="a\nb")),
        replace(REQUEST, name=""),
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


def test_a_pod_tells_its_node() -> None:
    assert node_of(existing_pod(MANIFEST, POD)) == "node-a"
    assert node_of(pod(spec__nodeName=DELETE)) == ""
