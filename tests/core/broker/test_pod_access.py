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


OTHER = replace(REQUEST, name="other")
DENIED: dict[Denial, dict[str, dict[str, Any] | None]] = {
    Denial.POD_ABSENT: {"deleted": None},
    Denial.POD_REPLACED: {"another uid": pod(metadata__uid="u-2")},
    Denial.OTHER_NODE: {
        "pod of B": pod(spec__nodeName="node-b"),
        "not bound yet": pod(spec__nodeName=DELETE),
    },
    Denial.STATIC_POD: {
        "mirror": pod(metadata__annotations={"kubernetes.io/config.mirror": "1"}),
        "no account": pod(spec__serviceAccountName=DELETE),
    },
    Denial.POD_ENDED: {
        "succeeded": pod(status__phase="Succeeded"),
        "failed": pod(status__phase="Failed"),
    },
    Denial.NOT_IN_POD: {
        "another driver": pod(spec__volumes=[volume("secrets-store.csi.k8s.io", **ATTRIBUTES)]),
        "no volumes": pod(spec__volumes=DELETE),
        "Secret itself": pod(spec__volumes=[{"secret": {"secretName": "hello-token"}}]),
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
    for manifest in (MANIFEST, pod(metadata__annotations=annotated)):
        assert reason_for(manifest, request_) is Denial.NOT_IN_POD


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
