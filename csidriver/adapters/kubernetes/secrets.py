"""What the refresher reads and writes of Kubernetes: Secrets and Events."""

import random
import threading
import time
from collections.abc import Generator, Iterator

from csidriver.adapters.kubernetes import events, merged_watch, paged_list
from csidriver.adapters.kubernetes.client import KubernetesClient, RequestOptions, without_traceback
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.adapters.kubernetes.watch import Chance, WatchScope
from csidriver.core import annotations
from csidriver.core.kubernetes.change import Namespaces, SecretChange, TokenObject
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.errors import StoreError, StoreRefused


class KubernetesStore:
    """The backend of the refresher; every method may raise StoreError.

    StoreUnavailable after a write leaves open whether it was stored.
    """

    def __init__(
        self,
        client: KubernetesClient,
        namespaces: Namespaces | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._client = client
        self._namespaces = namespaces or Namespaces()
        self._chance = Chance(time.monotonic, chance or random.SystemRandom())

    @without_traceback
    def get_secret(self, namespace: str, name: str) -> Secret | None:
        """The Secret, None if there is none."""
        answer = self._client.send_or_none(_request("get", namespace, name))
        return (
            None if answer is None else paged_list.parse_secret(answer.document, answer.server_time)
        )

    @without_traceback
    def create_secret(self, secret: Secret) -> Secret:
        """Store a new Secret; raises StoreConflict if it exists."""
        call = _request("create", secret.namespace, secret.name)
        answer = self._client.send(call, RequestOptions(body=secret.to_manifest()))
        return paged_list.parse_secret(answer.document, answer.server_time)

    @without_traceback
    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        """Change a Secret; raises StoreConflict unless it is still the one in `base`."""
        body = patch.to_merge_patch(base.resource_version)
        answer = self._client.send(
            _request("patch", base.namespace, base.name), RequestOptions(body=body)
        )
        return paged_list.parse_secret(answer.document, answer.server_time)

    @without_traceback
    def delete_secret(self, base: Secret) -> None:
        """Remove a Secret, absent is fine; raises StoreConflict if it is not the one in `base`."""
        preconditions = {"resourceVersion": base.resource_version, "uid": base.uid}
        call = _request("delete", base.namespace, base.name)
        self._client.send_or_none(call, RequestOptions(body={"preconditions": preconditions}))

    def list_secrets(self, namespace: str, type: str) -> Iterator[Secret]:  # noqa: A002 - its name
        """All Secrets of one type in a namespace, as they come."""
        found = paged_list.list_secrets(self._client, namespace, type)
        try:
            yield from found
        except StoreError as error:
            raise error.with_traceback(None) from None

    def watch_changes(self, stop: threading.Event) -> Generator[SecretChange | None, None, None]:
        """All sources, grants and companions, None, and then their changes, until `stop`.

        A namespace that was asked for by name and refuses us is warned about and looked at again
        later; nothing is told of it meanwhile, neither that its sources exist nor that they do not.
        """
        return merged_watch.watch_all(self._client, self._scopes(), self._chance, stop)

    @without_traceback
    def create_event(self, event: Event) -> None:
        """Record an Event, or count one more of it."""
        events.record(self._client, event, time.time())

    def _scopes(self) -> list[WatchScope]:
        places = self._namespaces
        of_sources = places.sources or ("",)
        return [
            WatchScope(TokenObject.GRANT, places.driver, f"type={annotations.GRANT_TYPE}"),
            WatchScope(TokenObject.COMPANION, places.tokens, f"type={annotations.COMPANION_TYPE}"),
            *(WatchScope(TokenObject.SOURCE, namespace) for namespace in dict.fromkeys(of_sources)),
        ]


def _request(verb: str, namespace: str, name: str) -> ApiRequest:
    call = ApiRequest(verb, "secrets", namespace, name)
    if not namespace or not name:
        raise StoreRefused(f"cannot {call}: no Secret is without namespace or name")
    return call
