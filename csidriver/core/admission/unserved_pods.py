"""Pods that cannot have a token: kubelet starts them alone, or their nodes have no node plugin."""

from collections.abc import Iterable, Iterator
from typing import Any

from csidriver.core.admission.pod_fields import object_of, objects_of

MIRROR = "kubernetes.io/config.mirror"  # an annotation
MIRROR_WARNING = "kubelet runs this static pod without a token; create it at the API server"
_WINDOWS = "the driver runs on Linux nodes only; remove the annotation"
_FARGATE = "Fargate runs no DaemonSets, so no node plugin; run the pod on other nodes"
_VIRTUAL = "a virtual node runs no DaemonSets; the pod starts only if its provider mounts the token"
# What chooses such nodes. On these no pod with a token can start, ...
REFUSED = (
    ("os.name", "windows", _WINDOWS),
    ("node label kubernetes.io/os", "windows", _WINDOWS),
    ("node label beta.kubernetes.io/os", "windows", _WINDOWS),
    ("schedulerName", "fargate-scheduler", _FARGATE),
    ("node label eks.amazonaws.com/compute-type", "fargate", _FARGATE),
)
# ... on these it may: some providers create the pod again in another cluster.
WARNED = (("node label type", "virtual-kubelet", _VIRTUAL),)


def reasons(spec: dict[str, Any], table: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Return the reasons of a table that apply to a pod."""
    fields = {f"node label {key}": value for key, value in _required_labels(spec)}
    fields |= {"os.name": object_of(spec, "os").get("name")}
    fields |= {"schedulerName": spec.get("schedulerName")}
    return (f"{key} is {value}: {why}" for key, value, why in table if fields.get(key) == value)


def _required_labels(spec: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the labels of nodes that nodeSelector, or every term of the affinity, asks for."""
    affinity = object_of(object_of(spec, "affinity"), "nodeAffinity")
    required = object_of(affinity, "requiredDuringSchedulingIgnoredDuringExecution")
    terms = [objects_of(it, "matchExpressions") for it in objects_of(required, "nodeSelectorTerms")]
    shared = [each for each in terms[0] if all(each in it for it in terms)] if terms else []
    for each in shared:
        match each:
            case {"key": key, "operator": "In", "values": [value]}:
                yield key, value
    yield from object_of(spec, "nodeSelector").items()
