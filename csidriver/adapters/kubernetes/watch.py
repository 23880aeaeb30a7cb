"""A list and a watch of one collection of Secrets, reading nothing but their metadata by default.

No change is yielded twice. A watch that ends, falls silent or breaks continues where it was. If
the server no longer has that version (410), a new list yields the differences.
"""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Any

import urllib3

from csidriver.adapters.kubernetes.api_errors import ResourceExpired
from csidriver.adapters.kubernetes.client import JSON, KubernetesClient, RequestOptions
from csidriver.adapters.kubernetes.json_stream import lines, parse_object
from csidriver.adapters.kubernetes.paged_list import METADATA_LIST, PagedList, parse_secret
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.core.annotations import IS_TOKEN, SOURCE_NAME, SOURCE_NAMESPACE
from csidriver.core.kubernetes.change import FindOwnWrite, SecretChange, TokenObject
from csidriver.core.kubernetes.secret import newest_manager, own_annotations
from csidriver.core.names import FIELD_MANAGER, SourceRef
from csidriver.errors import StoreUnavailable

_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
# A watch that ends earlier (the same limit as in client-go) without an event has failed.
_MIN_WATCH_SECONDS = 1.0
# The beginning of an event, up to uid and version of its object: no value that a user sets is
# before them. What looks otherwise is decoded.
_STRINGS = rb'(?:"\w+":"[^"\\]*",)*'
_WRITE_EVENT = re.compile(
    rb'{"type":"(?:ADDED|MODIFIED)","object":{%b"metadata":{%b"uid":"([^"\\]*)",'
    rb'"resourceVersion":"([^"\\]*)"' % (_STRINGS, _STRINGS)
)


@dataclass(frozen=True, slots=True)
class WatchScope:
    """One collection: the Secrets of a namespace ("": of all), maybe of one type only.

    With `content` its changes hold the Secrets.
    """

    token_object: TokenObject
    namespace: str
    selector: str = ""
    content: bool = False

    @property
    def may_be_refused(self) -> bool:
        """True for one of several namespaces of users, none of which may stop the others."""
        return self.token_object is TokenObject.SOURCE and bool(self.namespace)

    def ref(self, metadata: Mapping[str, Any]) -> SourceRef | None:
        """Return the source to which an object belongs, None if it belongs to no token."""
        known = own_annotations(metadata.get("annotations") or {})
        namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
        if self.token_object is TokenObject.SOURCE:
            return SourceRef(namespace, name) if known.get(IS_TOKEN) == "true" else None
        ref = SourceRef(known.get(SOURCE_NAMESPACE, ""), known.get(SOURCE_NAME, ""))
        is_grant = self.token_object is TokenObject.GRANT
        return ref if name == (ref.grant if is_grant else ref.companion) else None


class SecretWatch:
    """The state of one watch. Only `abort` may be called from another thread.

    `received_events` is True if the last connection brought any.
    """

    def __init__(
        self,
        client: KubernetesClient,
        scope: WatchScope,
        rng: Random,
        find_own: FindOwnWrite | None = None,
    ) -> None:
        self.scope = scope
        self.received_events = False
        self._client = client
        self._rng = rng
        self._find_own: FindOwnWrite = find_own or (lambda _uid, _version: None)
        self._request = ApiRequest("watch", "secrets", scope.namespace)
        self._version = ""
        self._versions: dict[SourceRef, str] = {}
        self._lock = threading.Lock()
        self._aborted = False
        self._socket: socket.socket | None = None

    def abort(self) -> None:
        """End a read in progress, and all later ones."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def list_changes(self) -> Iterator[SecretChange]:
        """List, and yield the differences from what was yielded before; raises StoreError."""
        request = ApiRequest("list", "secrets", self.scope.namespace)
        found: set[SourceRef] = set()
        accept = JSON if self.scope.content else METADATA_LIST
        listed = PagedList(self._client, request, self.scope.selector, accept)
        for item, _ in listed:
            ref = self.scope.ref(_metadata(item))
            if ref is not None:
                found.add(ref)
                yield from self._changed(ref, item)
        for ref in self._versions.keys() - found:
            yield from self._deleted(ref)
        self._version = listed.version

    def watch_once(self) -> Iterator[SecretChange]:
        """Yield changes until the connection ends; raises StoreError if that is a failure."""
        if not self._version:
            yield from self.list_changes()
        started, self.received_events = time.monotonic(), False
        for event_type, item in self._events():
            metadata = _metadata(item)
            self.received_events = True
            if event_type == "BOOKMARK":
                continue
            ref = self.scope.ref(metadata)
            if ref is not None and event_type != "DELETED":
                yield from self._changed(ref, item)
            else:
                yield from self._deleted(ref or self._known_ref(metadata))
        too_short = time.monotonic() - started < _MIN_WATCH_SECONDS
        if not self.received_events and self._version and too_short:
            raise StoreUnavailable(f"cannot {self._request}: it ended at once")

    def _changed(self, ref: SourceRef, item: dict[str, Any]) -> Iterator[SecretChange]:
        metadata, token_object = _metadata(item), self.scope.token_object
        version = _version(metadata)
        if self._versions.get(ref) != version:
            self._versions[ref] = version
            is_source = token_object is TokenObject.SOURCE
            by_driver = is_source and newest_manager(metadata) == FIELD_MANAGER
            uid = str(metadata.get("uid", "")) if is_source else ""
            content = parse_secret(item, None) if self.scope.content else None
            yield SecretChange(ref, token_object, version, by_driver, uid, content)

    def _deleted(self, ref: SourceRef | None) -> Iterator[SecretChange]:
        if ref is not None and self._versions.pop(ref, None) is not None:
            yield SecretChange(ref, self.scope.token_object, "")

    def _known_ref(self, metadata: Mapping[str, Any]) -> SourceRef | None:
        """Return the source of an object whose annotations no longer name it."""
        name = str(metadata.get("name", ""))
        if self.scope.token_object is TokenObject.SOURCE:
            return SourceRef(str(metadata.get("namespace", "")), name)
        return next((ref for ref in self._versions if name in {ref.grant, ref.companion}), None)

    def _events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        query = {
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._rng.randint(*self._client.timeouts.watch)),
        }
        if self.scope.selector:
            query["fieldSelector"] = self.scope.selector
        try:
            accept = JSON if self.scope.content else _METADATA
            yield from self._read_events(RequestOptions(query, accept=accept))
        except ResourceExpired:
            self._version = ""

    def _read_events(self, options: RequestOptions) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._open(options) as response:
            for line in lines(self._client.chunks(response)):
                if self._is_own_write(line):
                    continue
                event = parse_object(line)
                event_type, found = str(event.get("type", "")), event.get("object")
                item = found if isinstance(found, dict) else {}
                if event_type == "ERROR":
                    raise _error_event(self._request, item)
                self._version = _version(_metadata(item))
                yield event_type, item

    def _is_own_write(self, line: bytes) -> bool:
        """Take note of an own write, which is most of what happens, without decoding it."""
        found = _WRITE_EVENT.match(line)
        if found is None:
            return False
        uid, version = (part.decode() for part in found.groups())
        ref = self._find_own(uid, version)
        if ref is None:
            return False
        self._version = self._versions[ref] = version
        self.received_events = True
        return True

    @contextlib.contextmanager
    def _open(self, options: RequestOptions) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            with self._client.open(self._request, options) as response:
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
                raise StoreUnavailable(f"cannot {self._request}: it ended at once")
            connected.settimeout(self._client.timeouts.watch_silence)
            # A duplicate, because urllib3 closes the original at any time.
            self._socket = socket.fromfd(connected.fileno(), connected.family, socket.SOCK_STREAM)


def _error_event(request: ApiRequest, status: Mapping[str, Any]) -> StoreUnavailable:
    code = status.get("code")
    error_type = ResourceExpired if code == HTTPStatus.GONE else StoreUnavailable
    suffix = f" {code}" if isinstance(code, int) else ""
    return error_type(f"cannot {request}: the API server reported error{suffix}")


def _metadata(item: object) -> Mapping[str, Any]:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(metadata, dict):
        raise StoreUnavailable("a response of the API server contains no object")
    return metadata


def _version(metadata: Mapping[str, Any]) -> str:
    version = metadata.get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise StoreUnavailable("a response of the API server has no resourceVersion")
    return version
