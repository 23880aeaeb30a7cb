"""Answers an AdmissionReview (admission.k8s.io/v1) with a JSONPatch, a denial or a warning."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from csidriver.core.admission.inject import inject
from csidriver.core.admission.jsonpatch import patch
from csidriver.errors import InvalidAnnotation, InvalidRequest

_API_VERSION = "admission.k8s.io/v1"
_KIND = "AdmissionReview"
_MISDIRECTED = (
    "oauth2-csi acts on the creation of pods only; "
    "correct the rules of its MutatingWebhookConfiguration"
)
_LONGEST_MESSAGE = 16_384  # an Event or a terminal shows less


def review(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the AdmissionReview that answers `request`; raises InvalidRequest if it is malformed.

    Anything but the creation of a pod is allowed, with a warning about the webhook's rules.
    """
    uid, inner = _unwrap(request)
    if not _creates_pod(inner):
        return _answer(uid, {"allowed": True, "warnings": [_MISDIRECTED]})
    pod = inner["object"]
    try:
        injection = inject(pod)
    except InvalidAnnotation as error:
        # BadRequest, not Invalid: kubectl then prints the text together with the file's name.
        status = {"code": 400, "reason": "BadRequest", "message": str(error)[:_LONGEST_MESSAGE]}
        return _answer(uid, {"allowed": False, "status": status})
    answer: dict[str, Any] = {"allowed": True}
    operations = patch(pod, injection.pod)
    if operations:
        answer["patchType"] = "JSONPatch"
        answer["patch"] = base64.b64encode(json.dumps(operations).encode()).decode("ascii")
    if injection.warnings:
        answer["warnings"] = list(injection.warnings)
    return _answer(uid, answer)


def _unwrap(request: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    problems: list[str] = []
    if (request.get("apiVersion"), request.get("kind")) != (_API_VERSION, _KIND):
        problems.append(f"it is not an {_API_VERSION} {_KIND}")
    inner = request.get("request")
    inner = inner if isinstance(inner, Mapping) else {}
    uid = inner.get("uid")
    if not isinstance(uid, str) or not uid:
        problems.append("request.uid is missing")
    if problems:
        raise InvalidRequest("admission review", problems)
    return str(uid), inner


def _creates_pod(inner: Mapping[str, Any]) -> bool:
    pod = inner.get("object")
    kind = (pod.get("apiVersion"), pod.get("kind")) if isinstance(pod, Mapping) else None
    plain = inner.get("operation") == "CREATE" and not inner.get("subResource")
    return plain and kind == ("v1", "Pod")


def _answer(uid: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _API_VERSION, "kind": _KIND, "response": {"uid": uid, **answer}}
