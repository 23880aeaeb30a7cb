"""The broker's backend: companions, pods and TokenReviews of the Kubernetes API."""

from collections.abc import Mapping
from typing import Any

from csidriver.adapters.kubernetes.client import RequestOptions, without_traceback
from csidriver.adapters.kubernetes.paged_list import METADATA_LIST, PagedList
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.adapters.kubernetes.secrets import KubernetesStore
from csidriver.adapters.kubernetes.watch import WatchScope
from csidriver.core.annotations import COMPANION_SECRET_TYPE
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.kubernetes.change import TokenObject
from csidriver.errors import StoreRefused


class BrokerBackend(KubernetesStore):
    """Reads only; every method may raise StoreError. Watches companions and nothing else."""

    @without_traceback
    def review_token(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the review of a token by the API server."""
        request = ApiRequest("create", "tokenreviews")
        return self._client.send(request, RequestOptions(body=body)).document

    @without_traceback
    def get_pod(self, namespace: str, name: str, *, cached: bool) -> Mapping[str, Any] | None:
        """Return a pod; `cached` costs less, and may be older than the newest write."""
        options = RequestOptions({"resourceVersion": "0"} if cached else {})
        request = ApiRequest("get", "pods", namespace, name)
        response = self._client.send_or_none(request, options)
        return None if response is None else response.document

    @without_traceback
    def ended_pods(self, followed: frozenset[PodRef], node: str) -> frozenset[PodRef]:
        """Return which of these pods a node does not have any more.

        An enrolled namespace that refuses access tells nothing, and stops no other.
        """
        ended, selector = set(followed), f"spec.nodeName={node}"
        enrolled = {pod.namespace for pod in followed} if self._namespaces.sources else {""}
        for namespace in enrolled:
            request = ApiRequest("list", "pods", namespace)
            try:
                for item, _ in PagedList(self._client, request, selector, METADATA_LIST):
                    metadata = item["metadata"]
                    keys = ("namespace", "name", "uid")
                    ended.discard(PodRef(*(str(metadata[key]) for key in keys)))
            except StoreRefused:
                if not namespace:
                    raise
                ended = {pod for pod in ended if pod.namespace != namespace}
        return frozenset(ended)

    def _scopes(self) -> list[WatchScope]:
        # With its content a change needs no read, for which a node would wait.
        tokens, selector = self._namespaces.tokens, f"type={COMPANION_SECRET_TYPE}"
        return [WatchScope(TokenObject.COMPANION, tokens, selector, content=True)]
