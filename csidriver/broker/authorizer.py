"""Reads what the decisions about a node's requests need. Its methods block."""

from collections.abc import Mapping
from typing import Any, Protocol

from csidriver.core.broker.caller import reviewed_plugin, token_review
from csidriver.core.broker.denial import Denied
from csidriver.core.broker.pod_access import (
    AccessRequest,
    PodRef,
    check_access,
    existing_pod,
    node_of,
)
from csidriver.core.sensitive import Sensitive


class PodStore(Protocol):
    """The backend's pods, ConfigMaps and reviews; every method may raise StoreError."""

    def review_token(self, body: Mapping[str, Any]) -> Mapping[str, Any]: ...

    def get_pod(self, namespace: str, name: str, *, cached: bool) -> Mapping[str, Any] | None: ...

    def ended_pods(self, followed: frozenset[PodRef], node: str) -> frozenset[PodRef]: ...

    def get_namespace_uid(self, namespace: str) -> str: ...

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None: ...


class Authorizer:
    """Every method may raise StoreError: then nothing is decided. `account`: `namespace:name`."""

    def __init__(self, store: PodStore, account: str) -> None:
        self._store = store
        self._account = account

    def node_of_token(self, token: Sensitive) -> str:
        """Return the node of a plugin; raises Denied."""
        pod, node = reviewed_plugin(self._store.review_token(token_review(token)), self._account)
        if node:
            return node
        manifest = self._store.get_pod(pod.namespace, pod.name, cached=False)
        return node_of(existing_pod(manifest, pod))

    def authorize(self, request: AccessRequest, node: str) -> str:
        """Return the uid of the pod's namespace; raises Denied."""
        pod = request.pod
        request.validate()
        try:
            # A cache may lag: only what it affirms counts.
            check_access(self._store.get_pod(pod.namespace, pod.name, cached=True), request, node)
        except Denied:
            check_access(self._store.get_pod(pod.namespace, pod.name, cached=False), request, node)
        return self._store.get_namespace_uid(pod.namespace)

    def read_config_map(self, request: AccessRequest) -> Mapping[str, str] | None:
        """Return the `data` of an authorized ConfigMap, None if it does not exist."""
        return self._store.get_config_map(request.pod.namespace, request.name)

    def ended_pods(self, followed: frozenset[PodRef], node: str) -> frozenset[PodRef]:
        """Return which of these pods, each seen before this call, do not exist any more."""
        return self._store.ended_pods(followed, node) if followed else followed
