import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given

from csidriver.core.admission.inject import inject
from csidriver.core.admission.review import review
from csidriver.errors import InvalidAnnotation, InvalidRequest
from tests.core.admission.pods import (
    ENTRY,
    EOS,
    KEY,
    PODS,
    TMP,
    TOKEN_PRINTER,
    Pod,
    container,
    mounted,
    pod_with,
)
from tests.core.admission.reviews import applied, operations_of, response_to, review_of


def test_the_announced_pod_gets_its_token_file() -> None:
    pod = yaml.safe_load(TOKEN_PRINTER)
    response = response_to(pod)
    assert response["allowed"] is True
    assert "warnings" not in response
    spec = applied(pod, operations_of(response))["spec"]
    (volume,) = spec["volumes"]
    assert volume == {
        "name": "oauth2-50d83a19b6",
        "csi": {
            "driver": "oauth2.csi.cern.ch",
            "readOnly": True,
            "volumeAttributes": {
                "secretName": "hello-token",
                "fileName": "oauthtk_0",
                "owner": "0",
                "group": "0",
                "mode": "0400",
            },
        },
    }
    assert spec["containers"][0]["volumeMounts"] == [
        {
            "name": volume["name"],
            "mountPath": "/tmp/oauthtk_0",
            "subPath": "oauthtk_0",
            "readOnly": True,
        }
    ]


def test_the_announced_eos_pod_is_served_in_spite_of_its_slip() -> None:
    pod = yaml.safe_load(EOS)
    response = response_to(pod)
    (warning,) = response["warnings"]
    assert '"token-printer"' in warning
    assert '"eos-printer"' in warning
    spec = applied(pod, operations_of(response))["spec"]
    assert spec["volumes"][0]["name"] == "eos"
    attributes = spec["volumes"][1]["csi"]["volumeAttributes"]
    assert attributes["templateConfigMapName"] == "oauth-token-eos-template"
    paths = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert paths == ["/eos", "/tmp/oauthtk_0"]


def test_an_empty_array_changes_nothing() -> None:
    assert response_to(pod_with()) == {"uid": "705ab4f5", "allowed": True}


def test_a_denial_stays_of_readable_size() -> None:
    pod = pod_with()
    pod["metadata"]["annotations"][KEY] = json.dumps([{"a" * 2000: 0, "owner": "x"}] * 100)
    assert len(response_to(pod)["status"]["message"]) <= 16_384


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return change


def _with(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(holder: dict[str, Any]) -> None:
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_without("apiVersion"), id="no version"),
        pytest.param(_with("admission.k8s.io/v1beta1", "apiVersion"), id="old version"),
        pytest.param(_with("Pod", "kind"), id="not a review"),
        pytest.param(_without("request"), id="no request"),
        pytest.param(_with([], "request"), id="request is a list"),
        pytest.param(_without("request", "uid"), id="no uid"),
        pytest.param(_with("", "request", "uid"), id="empty uid"),
        pytest.param(_with("x", "request", "object", "metadata"), id="metadata is text"),
        pytest.param(_with([], "request", "object", "metadata", "annotations"), id="annotations"),
        pytest.param(
            _with(1, "request", "object", "metadata", "annotations", KEY), id="annotation"
        ),
        pytest.param(_with([], "request", "object", "spec"), id="spec is a list"),
        pytest.param(_with({}, "request", "object", "spec", "containers"), id="containers"),
        pytest.param(_with([1], "request", "object", "spec", "volumes"), id="volumes"),
    ],
)
def test_a_malformed_review_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    request = review_of(pod_with(ENTRY))
    review(request)
    change(request)
    with pytest.raises(InvalidRequest):
        review(request)


def test_all_faults_of_a_review_are_reported() -> None:
    with pytest.raises(InvalidRequest) as caught:
        review({})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_with(None, "request", "object"), id="no object (DELETE)"),
        pytest.param(_with("Deployment", "request", "object", "kind"), id="not a pod"),
        pytest.param(_with("x/v1", "request", "object", "apiVersion"), id="a pod of somebody else"),
        pytest.param(_with("UPDATE", "request", "operation"), id="update"),
        pytest.param(_without("request", "operation"), id="no operation"),
        pytest.param(_with("binding", "request", "subResource"), id="part of a pod"),
    ],
)
def test_what_is_not_the_creation_of_a_pod_is_allowed_with_a_warning(
    change: Callable[[dict[str, Any]], None],
) -> None:
    request = review_of(pod_with(ENTRY))
    change(request)
    response = review(request)["response"]
    assert response["allowed"] is True
    assert "patch" not in response
    (warning,) = response["warnings"]
    assert "rules" in warning


@pytest.mark.parametrize("absent", [None, "missing"])
def test_absent_and_null_arrays_are_added_whole(absent: str | None) -> None:
    pod = pod_with(ENTRY)
    if absent is None:
        pod["spec"]["volumes"] = None
        pod["spec"]["containers"][0]["volumeMounts"] = None
    operations = operations_of(response_to(pod))
    assert {operation["path"] for operation in operations} == {
        "/spec/volumes",
        "/spec/containers/0/volumeMounts",
    }
    assert applied(pod, operations) == inject(pod).pod


def test_present_arrays_are_appended_to() -> None:
    pod = pod_with(ENTRY, volumes=[TMP], containers=[container("main", mounted("tmp", "/x"))])
    assert [operation["path"] for operation in operations_of(response_to(pod))] == [
        "/spec/containers/0/volumeMounts/-",
        "/spec/volumes/-",
    ]


@given(PODS)
def test_applied_twice_equals_once_and_the_patch_says_the_same(pod: Pod) -> None:
    original = copy.deepcopy(pod)
    try:
        once = inject(pod)
    except InvalidAnnotation:
        assert response_to(pod)["allowed"] is False
        return
    finally:
        assert pod == original
    assert inject(once.pod) == once
    assert applied(pod, operations_of(response_to(pod))) == once.pod
    assert operations_of(response_to(once.pod)) == []
