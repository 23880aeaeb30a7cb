"""The ConfigMap with the certificate authorities of the broker, without keys, for nodes."""

from csidriver.adapters.kubernetes.client import KubernetesClient, RequestOptions, without_traceback
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.core.admission.certificates import CurrentCaBundles

_KEY = "ca.crt"


class CaConfigMap:
    """One ConfigMap; every method may raise StoreError."""

    def __init__(self, client: KubernetesClient, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name

    def __str__(self) -> str:
        return f"ConfigMap {self._namespace}/{self._name}"

    @without_traceback
    def read(self) -> CurrentCaBundles | None:
        response = self._client.send_or_none(self._request("get"))
        if response is None:
            return None
        text = str((response.document.get("data") or {}).get(_KEY, ""))
        version = str(response.document["metadata"]["resourceVersion"])
        return CurrentCaBundles((text,), version, ())

    @without_traceback
    def write(self, base: CurrentCaBundles, bundle: str) -> None:
        body = {"metadata": {"resourceVersion": base.version}, "data": {_KEY: bundle}}
        self._client.send(self._request("patch"), RequestOptions(body=body))

    def _request(self, verb: str) -> ApiRequest:
        return ApiRequest(verb, "configmaps", self._namespace, self._name)
