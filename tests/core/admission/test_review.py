import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import given

from csidriver.core.admission.inject import inject
from csidriver.core.admission.review import review
from csidriver.errors import InvalidAnnotation, InvalidRequest
from tests.core.admission.pods import ENTRY, EOS, KEY, PODS, TOKEN_PRINTER, Pod, pod_with
from tests.core.admission.reviews import applied, operations_of, response_to, review_of
from tests.core.changed import changed


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


def test_a_denial_stays_of_readable_size() -> None:
    pod = pod_with()
    pod["metadata"]["annotations"][KEY] = json.dumps([{"a" * 2000: 0, "owner": "x"}] * 100)
    assert len(response_to(pod)["status"]["message"]) <= 16_384


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("apiVersion", None), ("apiVersion", "admission.k8s.io/v1beta1"), ("kind", "Pod")),
        *(("request", None), ("request", []), ("request uid", None), ("request uid", "")),
        *(("request object metadata", "x"), ("request object metadata annotations", [])),
        *((f"request object metadata annotations {KEY}", 1), ("request object spec", [])),
        *(("request object spec containers", {}), ("request object spec volumes", [1])),
        ("request object spec containers", [{"name": ["main"]}]),
    ],
)
def test_a_malformed_review_is_refused(path: str, value: Any) -> None:
    with pytest.raises(InvalidRequest):
        review(changed(review_of(pod_with(ENTRY)), path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("request object", None, id="no object (DELETE)"),
        pytest.param("request object kind", "Deployment", id="not a pod"),
        pytest.param("request object apiVersion", "x/v1", id="a pod of somebody else"),
        pytest.param("request operation", "UPDATE", id="update"),
        pytest.param("request subResource", "binding", id="part of a pod"),
    ],
)
def test_what_is_not_the_creation_of_a_pod_is_allowed_with_a_warning(path: str, value: Any) -> None:
    response = review(changed(review_of(pod_with(ENTRY)), path, value))["response"]
    assert (response["allowed"], "patch" in response) == (True, False)
    (warning,) = response["warnings"]
    assert "rules" in warning


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
