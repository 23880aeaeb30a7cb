"""Lists, page by page and item by item."""

from collections.abc import Iterator
from typing import Any

from csidriver.adapters.kubernetes.client import JSON, KubernetesClient, RequestOptions, server_time
from csidriver.adapters.kubernetes.json_stream import ListItemStream
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.core.kubernetes.secret import Secret
from csidriver.errors import StoreUnavailable

PAGE = "500"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class PagedList:
    """Every object of a list with the API server's clock, once; `version` is known after them.

    All pages show one moment. A list that takes too long for that raises StoreUnavailable.
    """

    def __init__(
        self, client: KubernetesClient, request: ApiRequest, selector: str = "", accept: str = JSON
    ) -> None:
        self.version = ""
        self._client = client
        self._request = request
        self._query = {"limit": PAGE} | ({"fieldSelector": selector} if selector else {})
        self._accept = accept

    def __iter__(self) -> Iterator[tuple[dict[str, Any], float | None]]:
        more = True
        while more:
            ask = RequestOptions(self._query, accept=self._accept)
            with self._client.open(self._request, ask) as response:
                found = ListItemStream(self._client.chunks(response))
                now = server_time(response)
                for item in found:
                    yield item, now
            version, following = map(found.metadata.get, ("resourceVersion", "continue"))
            if not isinstance(version, str) or not version:
                raise StoreUnavailable("a list of the API server has no resourceVersion")
            self.version, more = version, bool(following)
            self._query = self._query | {"continue": str(following)}


def list_secrets(client: KubernetesClient, namespace: str, kind: str) -> Iterator[Secret]:
    """All Secrets of one type in a namespace."""
    for manifest, now in PagedList(
        client, ApiRequest("list", "secrets", namespace), f"type={kind}"
    ):
        yield parse_secret(manifest, now)


def parse_secret(manifest: dict[str, Any], now: float | None) -> Secret:
    """A Secret as the driver sees it; raises StoreUnavailable for what is none."""
    decoded = None
    try:
        decoded = Secret.from_manifest(manifest, now)
    except (AttributeError, TypeError, ValueError):
        # The foreign error may hold a part of the manifest and goes no further.
        decoded = None
    if decoded is None or not decoded.resource_version:
        raise StoreUnavailable("an answer of the API server holds no proper Secret")
    return decoded
