"""Reading requests to the API server, and what its status codes mean to us."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from csidriver.adapters.rest.identity import Identity
from csidriver.adapters.rest.line import Line
from csidriver.errors import StoreRefused, StoreUnavailable

# An object has at most 1.5 MiB in etcd; base64 and metadata come on top.
LARGEST = 4 << 20
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "oauth2-csi",
}


@dataclass(frozen=True, slots=True)
class Timings:
    """How long to wait, in seconds."""

    connect: float = 5.0
    read: float = 15.0
    # How long one watch may last: apart, so that the watches of a node do not end together.
    watch: tuple[int, int] = (240, 480)
    # How long one may say nothing until it is opened anew. A busy server sends a bookmark a minute;
    # a balancer that has lost its server may keep our connection up for ever.
    silence: float = 90.0
    # Kubelet renews a token long before it expires; a minute is what client-go takes.
    token: float = 60.0
    # Between two looks at which watches are to end.
    poll: float = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """One request, in the words of RBAC: `resource` is secrets, configmaps or namespaces."""

    verb: str
    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        kinds = {"secrets": "Secret", "configmaps": "ConfigMap", "namespaces": "Namespace"}
        where = "" if self.resource == "namespaces" else f"{self.namespace}/"
        return f"{self.verb} {kinds[self.resource]} {where}{self.name}"

    def target(self, **query: str) -> str:
        """Path and query; all but `get` go to the collection and select the one name there."""
        path = f"/api/v1/namespaces/{quote(self.namespace, safe='')}"
        if self.resource == "namespaces":
            return path
        path = f"{path}/{self.resource}"
        if self.verb == "get":
            return f"{path}/{quote(self.name, safe='')}"
        return f"{path}?{urlencode({'fieldSelector': f'metadata.name={self.name}', **query})}"


class Api:
    """The API server at one address, spoken to as one identity."""

    def __init__(self, server: str, identity: Identity, timings: Timings) -> None:
        self._server = server
        self._identity = identity
        self.timings = timings

    @contextlib.contextmanager
    def line(self) -> Iterator[Line]:
        """A line for one operation; nothing is sent yet."""
        with contextlib.closing(Line(self._server, self._identity.context())) as line:
            yield line

    @contextlib.contextmanager
    def ask(self, line: Line, call: Call, target: str) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer to a request, its body unread: status 200, 404 or 410.

        Raises StoreRefused or StoreUnavailable with any other.
        """
        timeout = urllib3.Timeout(connect=self.timings.connect, read=self.timings.read)
        response = line.get(target, self._headers(), timeout)
        if response.status == HTTPStatus.UNAUTHORIZED and self._identity.can_renew:
            response.close()
            response = line.get(target, self._headers(anew=True), timeout)
        with contextlib.closing(response):
            _check(call, response.status)
            yield response

    def document(self, line: Line, response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
        """The JSON object of a body; raises StoreUnavailable if it is none or too long."""
        body = bytearray()
        for chunk in line.chunks(response):
            body += chunk
            if len(body) > LARGEST:
                raise StoreUnavailable(f"an answer of the API server has over {LARGEST} bytes")
        return parsed(body)

    def _headers(self, *, anew: bool = False) -> dict[str, str]:
        token = self._identity.token(anew=anew).reveal()
        return {**_HEADERS, "Authorization": f"Bearer {token}"} if token else dict(_HEADERS)


def parsed(text: bytes | bytearray) -> dict[str, Any]:
    """A JSON object; raises StoreUnavailable if it is none."""
    document: object = None
    # What json raises holds the text and must not stay attached to our error.
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(text)
    if not isinstance(document, dict):
        raise StoreUnavailable("an answer of the API server is no JSON object")
    return document


def section(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object within an object, {} if absent; raises StoreUnavailable if it is something else."""
    value = document.get(key)
    if value is not None and not isinstance(value, dict):
        raise StoreUnavailable(f"{key!r} in an answer of the API server is no JSON object")
    return value or {}


def _check(call: Call, status: int) -> None:
    if status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return
    if status == HTTPStatus.UNAUTHORIZED:
        raise StoreRefused(f"cannot {call}: the API server does not accept our credentials (401)")
    if status == HTTPStatus.FORBIDDEN:
        right = f"the right to {call.verb} {call.resource} in namespace {call.namespace}"
        raise StoreRefused(f"cannot {call}: we lack {right} (403)")
    raise StoreUnavailable(f"cannot {call}: the API server answered {status}")
