"""Lists, read page by page and item by item."""

from collections.abc import Iterator
from typing import Any

from csidriver.adapters.kubernetes.client import JSON, KubernetesClient, RequestOptions, server_time
from csidriver.adapters.kubernetes.json_stream import ListItemStream
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.core.kubernetes.secret import Secret
from csidriver.errors import StoreUnavailable

PAGE_SIZE = "500"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class PagedList:
    """Yields each object of a list with the API server's clock, once; after that, has a `version`.

    All pages are of the same version. If that expires meanwhile, StoreUnavailable is raised.
    """

    def __init__(
        self, client: KubernetesClient, request: ApiRequest, selector: str = "", accept: str = JSON
    ) -> None:
        self.version = ""
        self._client = client
        self._request = request
        self._query = {"limit": PAGE_SIZE} | ({"fieldSelector": selector} if selector else {})
        self._accept = accept

    def __iter__(self) -> Iterator[tuple[dict[str, Any], float | None]]:
        more = True
        while more:
            options = RequestOptions(self._query, accept=self._accept)
            with self._client.open(self._request, options) as response:
                items = ListItemStream(self._client.chunks(response))
                now = server_time(response)
                for item in items:
                    yield item, now
            version, following = map(items.metadata.get, ("resourceVersion", "continue"))
            if not isinstance(version, str) or not version:
                raise StoreUnavailable("a list of the API server has no resourceVersion")
            self.version, more = version, bool(following)
            self._query = self._query | {"continue": str(following)}


def parse_secret(manifest: dict[str, Any], now: float | None) -> Secret:
    secret = None
    try:
        secret = Secret.from_manifest(manifest, now)
    except (AttributeError, TypeError, ValueError):
        # The foreign error may contain a part of the manifest and goes no further.
        secret = None
    if secret is None or not secret.resource_version:
        raise StoreUnavailable("a response of the API server is not a valid Secret")
    return secret
