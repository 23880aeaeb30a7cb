"""One request to the API server, in the words of RBAC."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain
from csidriver.errors import StoreRefused

_ROOTS = {
    "leases": "/apis/coordination.k8s.io/v1",
    "mutatingwebhookconfigurations": "/apis/admissionregistration.k8s.io/v1",
    "tokenreviews": "/apis/authentication.k8s.io/v1",
}
_KINDS = {
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "namespaces": "Namespace",
    "events": "Event",
    "pods": "Pod",
    "tokenreviews": "TokenReview",
    "leases": "Lease",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
}
_CLUSTER_SCOPED = frozenset({"mutatingwebhookconfigurations", "namespaces", "tokenreviews"})
_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A verb on a resource; without `namespace` on all of them, without `name` on a collection."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        """Raise StoreRefused for names that are not valid and could form another URL."""
        if self.namespace:
            is_valid = is_dns1123_label(self.namespace)
        else:
            is_valid = not self.name or self.is_cluster_scoped
        if not is_valid or (self.name and not is_dns1123_subdomain(self.name)):
            raise StoreRefused(f"cannot {self}: the name or the namespace is not valid")

    def __str__(self) -> str:
        where = "/".join(filter(None, (self.namespace, self.name))) or "of all namespaces"
        return f"{self.verb} {self.kind}{'' if self.name else 's'} {where:.300}"

    @property
    def kind(self) -> str:
        return _KINDS[self.resource]

    @property
    def is_cluster_scoped(self) -> bool:
        return self.resource in _CLUSTER_SCOPED

    @property
    def method(self) -> str:
        return _METHODS.get(self.verb, "GET")

    def path(self, query: Mapping[str, str]) -> str:
        """Return path and query; that of a create is the collection's.

        Nothing is quoted: a valid name needs none of it.
        """
        parts = ["", "namespaces", self.namespace] if self.namespace else [""]
        parts.append(self.resource)
        if self.name and self.verb != "create":
            parts.append(self.name)
        path = _ROOTS.get(self.resource, "/api/v1") + "/".join(parts)
        return f"{path}?{urlencode(query)}" if query else path
