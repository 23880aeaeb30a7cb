"""One collection of Secrets, listed and then watched, of which metadata alone is ever asked for.

What is told once is not told again. A watch that ends as agreed, falls silent or breaks goes on
where it was; a version the server no longer knows (410) leads to a new list and its differences.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Any

import urllib3

from csidriver.adapters.kubernetes.client import Client, RequestOptions, parsed
from csidriver.adapters.kubernetes.json_stream import lines
from csidriver.adapters.kubernetes.paged_list import METADATA_LIST, PagedList
from csidriver.adapters.kubernetes.request import ApiRequest, ResourceExpired
from csidriver.core.annotations import IS_TOKEN, SOURCE_NAME, SOURCE_NAMESPACE
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import newest_manager, own_annotations
from csidriver.core.names import FIELD_MANAGER, SourceRef
from csidriver.errors import StoreUnavailable

_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
# A watch that ends within a second (as client-go has it) and told nothing is trouble.
_HASTE = 1.0


@dataclass(frozen=True, slots=True)
class Chance:
    """What a watch takes from the machine."""

    monotonic: Callable[[], float]
    random: Random


@dataclass(frozen=True, slots=True)
class Scope:
    """One collection: the Secrets of a namespace ("": of all), maybe of one type only."""

    what: TokenObject
    namespace: str
    selector: str = ""

    @property
    def is_enrolled(self) -> bool:
        """Whether this is one of several namespaces of users, none of which may stop the others."""
        return self.what is TokenObject.SOURCE and bool(self.namespace)

    def ref(self, metadata: Mapping[str, Any]) -> SourceRef | None:
        """Which token an object belongs to, None if to none."""
        notes = own_annotations(metadata.get("annotations") or {})
        namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
        if self.what is TokenObject.SOURCE:
            return SourceRef(namespace, name) if notes.get(IS_TOKEN) == "true" else None
        ref = SourceRef(notes.get(SOURCE_NAMESPACE, ""), notes.get(SOURCE_NAME, ""))
        return (
            ref
            if name == (ref.grant if self.what is TokenObject.GRANT else ref.companion)
            else None
        )


class Watch:
    """Where one watch stands; used by one thread, but for `cut`.

    `lively` tells whether the last connection brought anything.
    """

    def __init__(self, client: Client, scope: Scope, chance: Chance) -> None:
        self.scope = scope
        self.lively = False
        self._client = client
        self._chance = chance
        self._version = ""
        self._told: dict[SourceRef, str] = {}
        self._lock = threading.Lock()
        self._cut = False
        self._socket: socket.socket | None = None

    def cut(self) -> None:
        """End whatever is being read, and let nothing more be."""
        with self._lock:
            self._cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def catch_up(self) -> Iterator[SecretChange]:
        """List, and tell what differs from what was told; raises StoreError."""
        call = ApiRequest("list", "secrets", self.scope.namespace)
        found: set[SourceRef] = set()
        listed = PagedList(self._client, call, self.scope.selector, METADATA_LIST)
        for item, _ in listed:
            metadata = _metadata(item)
            ref = self.scope.ref(metadata)
            if ref is not None:
                found.add(ref)
                yield from self._seen(ref, metadata)
        for ref in self._told.keys() - found:
            yield from self._gone(ref)
        self._version = listed.version

    def follow(self) -> Iterator[SecretChange]:
        """What changes during one connection; ends without a word, or raises StoreError."""
        if not self._version:
            yield from self.catch_up()
        began, self.lively = self._chance.monotonic(), False
        for kind, metadata in self._events():
            self.lively = True
            if kind == "BOOKMARK":
                continue
            ref = self.scope.ref(metadata)
            if ref is not None and kind != "DELETED":
                yield from self._seen(ref, metadata)
            else:
                yield from self._gone(ref or self._known(metadata))
        if not self.lively and self._version and self._chance.monotonic() - began < _HASTE:
            raise StoreUnavailable(f"cannot {self._call()}: it ended at once")

    def _call(self) -> ApiRequest:
        return ApiRequest("watch", "secrets", self.scope.namespace)

    def _seen(self, ref: SourceRef, metadata: Mapping[str, Any]) -> Iterator[SecretChange]:
        version = _version(metadata)
        if self._told.get(ref) != version:
            self._told[ref] = version
            by_us = (
                self.scope.what is TokenObject.SOURCE and newest_manager(metadata) == FIELD_MANAGER
            )
            yield SecretChange(ref, self.scope.what, version, by_us)

    def _gone(self, ref: SourceRef | None) -> Iterator[SecretChange]:
        if ref is not None and self._told.pop(ref, None) is not None:
            yield SecretChange(ref, self.scope.what, "")

    def _known(self, metadata: Mapping[str, Any]) -> SourceRef | None:
        """The token of an object whose annotations no longer tell it."""
        name = str(metadata.get("name", ""))
        if self.scope.what is TokenObject.SOURCE:
            return SourceRef(str(metadata.get("namespace", "")), name)
        return next((ref for ref in self._told if name in {ref.grant, ref.companion}), None)

    def _events(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        call, timings = self._call(), self._client.timings
        query = {
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._chance.random.randint(*timings.watch)),
        }
        if self.scope.selector:
            query["fieldSelector"] = self.scope.selector
        try:
            yield from self._connected(call, RequestOptions(query, accept=_METADATA))
        except ResourceExpired:
            self._version = ""

    def _connected(
        self, call: ApiRequest, ask: RequestOptions
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        with self._opened(call, ask) as response:
            for line in lines(self._client.chunks(response)):
                event = parsed(line)
                kind, item = str(event.get("type", "")), event.get("object")
                if kind == "ERROR":
                    raise _failure(call, item if isinstance(item, dict) else {})
                metadata = _metadata(item)
                self._version = _version(metadata)
                yield kind, metadata

    @contextlib.contextmanager
    def _opened(self, call: ApiRequest, ask: RequestOptions) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            with self._client.open(call, ask) as response:
                self._hold(response)
                yield response
        finally:
            with self._lock:
                if self._socket is not None:
                    self._socket.close()
                    self._socket = None

    def _hold(self, response: urllib3.BaseHTTPResponse) -> None:
        connected = getattr(response.connection, "sock", None)
        with self._lock:
            if self._cut or connected is None:
                raise StoreUnavailable(f"cannot {self._call()}: it ended at once")
            connected.settimeout(self._client.timings.silence)
            # A duplicate: the other one belongs to urllib3, which closes it when it likes.
            self._socket = socket.fromfd(connected.fileno(), socket.AF_INET, socket.SOCK_STREAM)


def _failure(call: ApiRequest, status: Mapping[str, Any]) -> StoreUnavailable:
    """What an ERROR event means."""
    code = status.get("code")
    kind = ResourceExpired if code == HTTPStatus.GONE else StoreUnavailable
    told = f" {code}" if isinstance(code, int) else ""
    return kind(f"cannot {call}: the API server reported error{told}")


def _metadata(item: object) -> Mapping[str, Any]:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(metadata, dict):
        raise StoreUnavailable("an answer of the API server holds no object")
    return metadata


def _version(metadata: Mapping[str, Any]) -> str:
    version = metadata.get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise StoreUnavailable("an answer of the API server has no resourceVersion")
    return version
