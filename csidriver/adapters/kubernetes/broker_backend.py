"""The broker's backend: companions, pods and TokenReviews of the Kubernetes API."""

from collections.abc import Mapping
from typing import Any

from csidriver.adapters.kubernetes.client import RequestOptions, without_traceback
from csidriver.adapters.kubernetes.paged_list import METADATA_LIST, PagedList
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.adapters.kubernetes.secrets import KubernetesStore
from csidriver.adapters.kubernetes.watch import WatchScope
from csidriver.core.annotations import COMPANION_TYPE
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.kubernetes.change import TokenObject


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
    def list_pods(self, node: str) -> frozenset[PodRef]:
        """Return all pods of a node, as they are now."""
        found = set()
        for namespace in self._namespaces.sources or ("",):
            request, selector = ApiRequest("list", "pods", namespace), f"spec.nodeName={node}"
            for item, _ in PagedList(self._client, request, selector, METADATA_LIST):
                metadata = item["metadata"]
                found.add(PodRef(*(str(metadata[key]) for key in ("namespace", "name", "uid"))))
        return frozenset(found)

    def _scopes(self) -> list[WatchScope]:
        # With its content a change needs no read, for which a node would wait.
        tokens, selector = self._namespaces.tokens, f"type={COMPANION_TYPE}"
        return [WatchScope(TokenObject.COMPANION, tokens, selector, content=True)]
