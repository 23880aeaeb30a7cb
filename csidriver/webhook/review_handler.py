"""The answer to the body of an admission request; errors never quote the body."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from csidriver.core.admission.review import review
from csidriver.errors import InvalidRequest
from csidriver.webhook.metrics import Result

log = logging.getLogger(__name__)

# Commas and brackets. A variable of a container has three, and no pod has 30,000 variables. A body
# with more is an attack on our memory: three bytes of JSON can become a hundred in Python.
_MAX_PARTS = 100_000
# A pod has about 15 levels; the interpreter's own limit depends on its version.
_MAX_LEVELS = 100


@dataclass(frozen=True, slots=True)
class ReviewResponse:
    """An HTTP status with a JSON body, and the metric that counts it."""

    status: HTTPStatus
    body: bytes = field(repr=False)
    result: Result


Handler = Callable[[bytes], ReviewResponse]


def handle_review(body: bytes) -> ReviewResponse:
    """Return the response to the body of a request; never raises."""
    try:
        answer = review(_parse(body))
    except InvalidRequest as error:
        return error_response(HTTPStatus.BAD_REQUEST, str(error))
    except Exception:
        log.exception("an admission review could not be answered")
        return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "see the log of the webhook")
    return ReviewResponse(HTTPStatus.OK, json.dumps(answer).encode(), _result(answer["response"]))


def error_response(status: HTTPStatus, problem: str) -> ReviewResponse:
    """Return an error as a Status object, whose message kube-apiserver shows to its client."""
    document = {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": int(status),
        "message": f"oauth2-csi webhook: {problem}",
    }
    result = Result.FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Result.REFUSED
    return ReviewResponse(status, json.dumps(document).encode(), result)


def _result(response: dict[str, Any]) -> Result:
    if not response["allowed"]:
        return Result.DENIED
    return Result.INJECTED if "patch" in response else Result.UNCHANGED


def _parse(body: bytes) -> dict[str, Any]:
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_PARTS:
        raise InvalidRequest("admission review", ["the body has too many parts"])
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and not _is_deep(document):
        return document
    # Outside of the handler, or Python would attach an error that contains the body.
    problem = "the body is not a JSON object, or is nested too deeply"
    raise InvalidRequest("admission review", [problem])


def _is_deep(document: dict[str, Any]) -> bool:
    level: list[Any] = [document]
    for _ in range(_MAX_LEVELS):
        groups = [each.values() if isinstance(each, dict) else each for each in level]
        level = [each for group in groups for each in group if isinstance(each, (dict, list))]
    return bool(level)
