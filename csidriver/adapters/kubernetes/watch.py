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

from csidriver.adapters.kubernetes.client import KubernetesClient, RequestOptions, parse_object
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
_MIN_WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Chance:
    """What a watch takes from the machine."""

    monotonic: Callable[[], float]
    random: Random


@dataclass(frozen=True, slots=True)
class WatchScope:
    """One collection: the Secrets of a namespace ("": of all), maybe of one type only."""

    token_object: TokenObject
    namespace: str
    selector: str = ""

    @property
    def may_be_refused(self) -> bool:
        """Whether this is one of several namespaces of users, none of which may stop the others."""
        return self.token_object is TokenObject.SOURCE and bool(self.namespace)

    def ref(self, metadata: Mapping[str, Any]) -> SourceRef | None:
        """Which token an object belongs to, None if to none."""
        notes = own_annotations(metadata.get("annotations") or {})
        namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
        if self.token_object is TokenObject.SOURCE:
            return SourceRef(namespace, name) if notes.get(IS_TOKEN) == "true" else None
        ref = SourceRef(notes.get(SOURCE_NAMESPACE, ""), notes.get(SOURCE_NAME, ""))
        return (
            ref
            if name == (ref.grant if self.token_object is TokenObject.GRANT else ref.companion)
            else None
        )


class SecretWatch:
    """Where one watch stands; used by one thread, but for `cut`.

    `lively` tells whether the last connection brought anything.
    """

    def __init__(self, client: KubernetesClient, scope: WatchScope, chance: Chance) -> None:
        self.scope = scope
        self.received_events = False
        self._client = client
        self._chance = chance
        self._version = ""
        self._versions: dict[SourceRef, str] = {}
        self._lock = threading.Lock()
        self._aborted = False
        self._socket: socket.socket | None = None

    def abort(self) -> None:
        """End whatever is being read, and let nothing more be."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def list_changes(self) -> Iterator[SecretChange]:
        """List, and tell what differs from what was told; raises StoreError."""
        call = ApiRequest("list", "secrets", self.scope.namespace)
        found: set[SourceRef] = set()
        listed = PagedList(self._client, call, self.scope.selector, METADATA_LIST)
        for item, _ in listed:
            metadata = _metadata(item)
            ref = self.scope.ref(metadata)
            if ref is not None:
                found.add(ref)
                yield from self._changed(ref, metadata)
        for ref in self._versions.keys() - found:
            yield from self._deleted(ref)
        self._version = listed.version

    def watch_once(self) -> Iterator[SecretChange]:
        """What changes during one connection; ends without a word, or raises StoreError."""
        if not self._version:
            yield from self.list_changes()
        began, self.received_events = self._chance.monotonic(), False
        for kind, metadata in self._events():
            self.received_events = True
            if kind == "BOOKMARK":
                continue
            ref = self.scope.ref(metadata)
            if ref is not None and kind != "DELETED":
                yield from self._changed(ref, metadata)
            else:
                yield from self._deleted(ref or self._known_ref(metadata))
        if (
            not self.received_events
            and self._version
            and self._chance.monotonic() - began < _MIN_WATCH_SECONDS
        ):
            raise StoreUnavailable(f"cannot {self._request()}: it ended at once")

    def _request(self) -> ApiRequest:
        return ApiRequest("watch", "secrets", self.scope.namespace)

    def _changed(self, ref: SourceRef, metadata: Mapping[str, Any]) -> Iterator[SecretChange]:
        version = _version(metadata)
        if self._versions.get(ref) != version:
            self._versions[ref] = version
            by_us = (
                self.scope.token_object is TokenObject.SOURCE
                and newest_manager(metadata) == FIELD_MANAGER
            )
            yield SecretChange(ref, self.scope.token_object, version, by_us)

    def _deleted(self, ref: SourceRef | None) -> Iterator[SecretChange]:
        if ref is not None and self._versions.pop(ref, None) is not None:
            yield SecretChange(ref, self.scope.token_object, "")

    def _known_ref(self, metadata: Mapping[str, Any]) -> SourceRef | None:
        """The token of an object whose annotations no longer tell it."""
        name = str(metadata.get("name", ""))
        if self.scope.token_object is TokenObject.SOURCE:
            return SourceRef(str(metadata.get("namespace", "")), name)
        return next((ref for ref in self._versions if name in {ref.grant, ref.companion}), None)

    def _events(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        call, timings = self._request(), self._client.timeouts
        query = {
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._chance.random.randint(*timings.watch)),
        }
        if self.scope.selector:
            query["fieldSelector"] = self.scope.selector
        try:
            yield from self._read_events(call, RequestOptions(query, accept=_METADATA))
        except ResourceExpired:
            self._version = ""

    def _read_events(
        self, call: ApiRequest, ask: RequestOptions
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        with self._open(call, ask) as response:
            for line in lines(self._client.chunks(response)):
                event = parse_object(line)
                kind, item = str(event.get("type", "")), event.get("object")
                if kind == "ERROR":
                    raise _error_event(call, item if isinstance(item, dict) else {})
                metadata = _metadata(item)
                self._version = _version(metadata)
                yield kind, metadata

    @contextlib.contextmanager
    def _open(self, call: ApiRequest, ask: RequestOptions) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            with self._client.open(call, ask) as response:
                self._attach(response)
                yield response
        finally:
            with self._lock:
                if self._socket is not None:
                    self._socket.close()
                    self._socket = None

    def _attach(self, response: urllib3.BaseHTTPResponse) -> None:
        connected = getattr(response.connection, "sock", None)
        with self._lock:
            if self._aborted or connected is None:
                raise StoreUnavailable(f"cannot {self._request()}: it ended at once")
            connected.settimeout(self._client.timeouts.watch_silence)
            # A duplicate: the other one belongs to urllib3, which closes it when it likes.
            self._socket = socket.fromfd(connected.fileno(), socket.AF_INET, socket.SOCK_STREAM)


def _error_event(call: ApiRequest, status: Mapping[str, Any]) -> StoreUnavailable:
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
