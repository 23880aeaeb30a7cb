"""AdmissionReviews of pods, and what their answers do."""

import base64
import copy
import json
from typing import Any

import pytest

from csidriver.core.admission.inject import inject
from csidriver.core.admission.review import review
from csidriver.errors import InvalidAnnotation
from tests.core.admission.pods import Pod


def review_of(pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "705ab4f5", "operation": "CREATE", "object": pod},
    }


def response_to(pod: Pod) -> dict[str, Any]:
    answer = review(review_of(pod))
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = answer["response"]
    assert response["uid"] == "705ab4f5"
    return response


def operations_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    if "patch" not in response:
        assert "patchType" not in response
        return []
    assert response["patchType"] == "JSONPatch"
    operations: list[dict[str, Any]] = json.loads(base64.b64decode(response["patch"]))
    return operations


def applied(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902, as far as add and replace go; strict about what must exist."""
    root = {"": copy.deepcopy(document)}
    for operation in operations:
        assert operation["op"] in {"add", "replace"}
        parts = operation["path"].split("/")
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in parts]
        holder: Any = root
        for part in parents:
            holder = holder[int(part) if isinstance(holder, list) else part]
        value = copy.deepcopy(operation["value"])
        if isinstance(holder, list) and operation["op"] == "add":
            holder.insert(len(holder) if last == "-" else int(last), value)
        elif isinstance(holder, list):
            holder[int(last)] = value
        else:
            assert operation["op"] == "add" or last in holder
            holder[last] = value
    return root[""]


def problems_of(pod: Pod) -> tuple[str, ...]:
    with pytest.raises(InvalidAnnotation) as caught:
        inject(pod)
    response = response_to(pod)
    assert (response["allowed"], "patch" in response) == (False, False)
    wanted = {"code": 400, "reason": "BadRequest", "message": str(caught.value)}
    assert response["status"] == wanted
    return caught.value.problems
