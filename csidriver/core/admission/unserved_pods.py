"""Pods that cannot have a token: kubelet starts them alone, or their nodes have no node plugin."""

from collections.abc import Iterable, Iterator
from typing import Any

from csidriver.core.admission.pod_fields import object_of

MIRROR = "kubernetes.io/config.mirror"  # an annotation
MIRROR_WARNING = "kubelet runs this static pod without a token; create it at the API server"
_WINDOWS = "the driver runs on Linux nodes only; remove the annotation"
_FARGATE = "Fargate runs no DaemonSets, so no node plugin; run the pod on other nodes"
_VIRTUAL = "a virtual node runs no DaemonSets; the pod starts only if its provider mounts the token"
# Fields that choose such nodes. On these no pod with a token can start, ...
REFUSED = (
    ("os.name", "windows", _WINDOWS),
    ("nodeSelector kubernetes.io/os", "windows", _WINDOWS),
    ("nodeSelector beta.kubernetes.io/os", "windows", _WINDOWS),
    ("schedulerName", "fargate-scheduler", _FARGATE),
    ("nodeSelector eks.amazonaws.com/compute-type", "fargate", _FARGATE),
)
# ... on these it may: some providers create the pod again in another cluster.
WARNED = (("nodeSelector type", "virtual-kubelet", _VIRTUAL),)


def reasons(spec: dict[str, Any], table: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Return the reasons of a table that apply to a pod."""
    selector = object_of(spec, "nodeSelector")
    fields = {f"nodeSelector {key}": selector[key] for key in selector}
    fields |= {"os.name": object_of(spec, "os").get("name")}
    fields |= {"schedulerName": spec.get("schedulerName")}
    return (f"{key} is {value}: {why}" for key, value, why in table if fields.get(key) == value)
