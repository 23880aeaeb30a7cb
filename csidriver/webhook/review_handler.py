"""From the body of a request to the body of its answer; never quotes either in an error."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

from csidriver.core.admission.review import review
from csidriver.errors import InvalidRequest
from csidriver.webhook.metrics import Result

log = logging.getLogger(__name__)

# Commas and brackets. A variable of a container has three, and no pod has 30,000 of them; what has
# more is made to fill the memory, for three bytes of JSON can be a hundred in Python.
_MOST_PARTS = 100_000


@dataclass(frozen=True, slots=True)
class ReviewResponse:
    """A status and a JSON body, and how to count it."""

    status: HTTPStatus
    body: bytes = field(repr=False)
    result: Result


def handle_review(body: bytes) -> ReviewResponse:
    """What to reply to the body of a request; never raises."""
    try:
        told = review(_decoded(body))
    except InvalidRequest as error:
        return error_response(HTTPStatus.BAD_REQUEST, str(error))
    except Exception:
        log.exception("an admission review could not be answered")
        return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "see the log of the webhook")
    return ReviewResponse(HTTPStatus.OK, json.dumps(told).encode(), _result(told["response"]))


def error_response(status: HTTPStatus, problem: str) -> ReviewResponse:
    """An error in the shape that kube-apiserver passes on to its client."""
    told = {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": int(status),
        "message": f"oauth2-csi webhook: {problem}",
    }
    result = Result.FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Result.REFUSED
    return ReviewResponse(status, json.dumps(told).encode(), result)


def _result(response: dict[str, Any]) -> Result:
    if not response["allowed"]:
        return Result.DENIED
    return Result.INJECTED if "patch" in response else Result.UNCHANGED


def _decoded(body: bytes) -> dict[str, Any]:
    problem = "it is no JSON object"
    if sum(map(body.count, (b",", b"[", b"{"))) > _MOST_PARTS:
        raise InvalidRequest("admission review", ["it has too many parts"])
    try:
        document: object = json.loads(
            body, object_pairs_hook=_once, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        # Only texts of our own are shown.
        problem = (
            str(error) if type(error) is _InvalidJson else "it is no JSON, or nested without end"
        )
    else:
        if isinstance(document, dict):
            return document
    # Outside of the handler, or Python would attach an error that holds the body.
    raise InvalidRequest("admission review", [problem])


class _InvalidJson(ValueError):
    """JSON that no Kubernetes writes."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _InvalidJson("a key stands twice in one object")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise _InvalidJson("it holds NaN or Infinity")


Handler = Callable[[bytes], ReviewResponse]
