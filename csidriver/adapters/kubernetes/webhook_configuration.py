"""The `caBundle` of a MutatingWebhookConfiguration."""

import base64
import binascii
from typing import Any

from csidriver.adapters.kubernetes.client import KubernetesClient, RequestOptions, without_traceback
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.core.admission.certificates import CurrentCaBundles
from csidriver.errors import StoreUnavailable


class WebhookConfiguration:
    """One configuration; every method may raise StoreError."""

    def __init__(self, client: KubernetesClient, name: str) -> None:
        self._client = client
        self._name = name

    def __str__(self) -> str:
        return f"MutatingWebhookConfiguration {self._name}"

    @without_traceback
    def read(self) -> CurrentCaBundles | None:
        response = self._client.send_or_none(self._request("get"))
        if response is None:
            return None
        document = response.document
        metadata, webhooks = document.get("metadata"), document.get("webhooks") or []
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if not version or not isinstance(webhooks, list) or not all(map(_is_webhook, webhooks)):
            raise StoreUnavailable(f"a response of the API server is not a valid {self}")
        bundles = tuple(_decoded(hook["clientConfig"].get("caBundle")) for hook in webhooks)
        return CurrentCaBundles(bundles, str(version), tuple(webhooks))

    @without_traceback
    def write(self, base: CurrentCaBundles, bundle: str) -> None:
        encoded = base64.b64encode(bundle.encode()).decode("ascii")
        webhooks = [
            {**hook, "clientConfig": {**hook["clientConfig"], "caBundle": encoded}}
            for hook in base.webhooks
        ]
        body = {"metadata": {"resourceVersion": base.version}, "webhooks": webhooks}
        self._client.send(self._request("patch"), RequestOptions(body=body))

    def _request(self, verb: str) -> ApiRequest:
        return ApiRequest(verb, "mutatingwebhookconfigurations", name=self._name)


def _is_webhook(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("clientConfig"), dict)


def _decoded(value: Any) -> str:
    try:
        return base64.b64decode(str(value or ""), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return ""
