"""The refresher's backend: Secrets, Events and a ConfigMap of the Kubernetes API."""

import random
import threading
import time
from collections.abc import Generator, Iterator, Mapping

from csidriver.adapters.kubernetes import events, merged_watch
from csidriver.adapters.kubernetes.client import KubernetesClient, RequestOptions, without_traceback
from csidriver.adapters.kubernetes.paged_list import PagedList, parse_secret
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.adapters.kubernetes.watch import WatchScope
from csidriver.core import annotations
from csidriver.core.kubernetes.change import FindOwnWrite, Namespaces, SecretChange, TokenObject
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.errors import StoreError, StoreRefused


class KubernetesStore:
    """The backend of the refresher; every method may raise StoreError.

    After StoreUnavailable, a write may or may not have been stored.
    """

    def __init__(
        self,
        client: KubernetesClient,
        namespaces: Namespaces | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._namespaces = namespaces or Namespaces()
        self._rng = rng or random.SystemRandom()

    @without_traceback
    def get_secret(self, namespace: str, name: str) -> Secret | None:
        response = self._client.send_or_none(_request("get", namespace, name))
        if response is None:
            return None
        return parse_secret(response.document, response.server_time)

    @without_traceback
    def get_namespace_uid(self, namespace: str) -> str:
        request = ApiRequest("get", "namespaces", name=namespace)
        response = self._client.send_or_none(request)
        return "" if response is None else str(response.document["metadata"]["uid"])

    @without_traceback
    def create_secret(self, secret: Secret) -> Secret:
        request = _request("create", secret.namespace, secret.name)
        response = self._client.send(request, RequestOptions(body=secret.to_manifest()))
        return parse_secret(response.document, response.server_time)

    @without_traceback
    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        request = _request("patch", base.namespace, base.name)
        body = patch.to_merge_patch(base.resource_version)
        response = self._client.send(request, RequestOptions(body=body))
        return parse_secret(response.document, response.server_time)

    @without_traceback
    def delete_secret(self, base: Secret) -> None:
        request = _request("delete", base.namespace, base.name)
        preconditions = {"resourceVersion": base.resource_version, "uid": base.uid}
        self._client.send_or_none(request, RequestOptions(body={"preconditions": preconditions}))

    def list_secrets(self, namespace: str, type: str) -> Iterator[Secret]:  # noqa: A002 - its name
        try:
            request = ApiRequest("list", "secrets", namespace)
            for manifest, now in PagedList(self._client, request, f"type={type}"):
                yield parse_secret(manifest, now)
        except StoreError as error:
            raise error.with_traceback(None) from None

    def watch_changes(
        self, stop: threading.Event, find_own: FindOwnWrite | None = None
    ) -> Generator[SecretChange | None, None, None]:
        """Yield all sources, grants and companions, None, and then their changes, until `stop`.

        Changes that `find_own` finds are left out.

        If we lack the right to one of the configured namespaces, that is logged and tried again
        later. Meanwhile nothing is yielded for it: its sources may or may not exist.
        """
        return merged_watch.watch_all(self._client, self._scopes(), self._rng, stop, find_own)

    @without_traceback
    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        response = self._client.send_or_none(ApiRequest("get", "configmaps", namespace, name))
        return None if response is None else dict(response.document.get("data") or {})

    @without_traceback
    def patch_config_map(self, namespace: str, name: str, data: Mapping[str, str | None]) -> None:
        """Set keys of a ConfigMap that exists: the right to create one cannot name it."""
        request = ApiRequest("patch", "configmaps", namespace, name)
        self._client.send(request, RequestOptions(body={"data": dict(data)}))

    @without_traceback
    def create_event(self, event: Event) -> None:
        events.record(self._client, event, time.time())

    def _scopes(self) -> list[WatchScope]:
        driver, tokens = self._namespaces.driver, self._namespaces.tokens
        of_sources = self._namespaces.sources or ("",)
        return [
            WatchScope(TokenObject.GRANT, driver, f"type={annotations.GRANT_SECRET_TYPE}"),
            WatchScope(TokenObject.COMPANION, tokens, f"type={annotations.COMPANION_SECRET_TYPE}"),
            *(WatchScope(TokenObject.SOURCE, namespace) for namespace in dict.fromkeys(of_sources)),
        ]


def _request(verb: str, namespace: str, name: str) -> ApiRequest:
    request = ApiRequest(verb, "secrets", namespace, name)
    if not namespace or not name:
        raise StoreRefused(f"cannot {request}: a Secret needs a namespace and a name")
    return request
