"""Pods that cannot have a token: kubelet starts them alone, or their nodes have no node plugin."""

from collections.abc import Iterator
from typing import Any

from csidriver.core.admission.pod_fields import object_of

# The annotation of a pod by which kubelet shows a static pod.
MIRROR = "kubernetes.io/config.mirror"
MIRROR_WARNING = (
    "this pod shows a static pod, which kubelet has started without a token; "
    "create the pod at the API server instead"
)
_WINDOWS = "the driver runs on Linux nodes only; remove the annotation"
_FARGATE = "Fargate runs no DaemonSets, so no node plugin; run the pod on other nodes"
_VIRTUAL = "a virtual node runs no DaemonSets; the pod starts only if its provider mounts the token"
# Fields that choose such nodes. Nothing can start there, ...
_REFUSED = (
    ("os.name", "windows", _WINDOWS),
    ("nodeSelector kubernetes.io/os", "windows", _WINDOWS),
    ("nodeSelector beta.kubernetes.io/os", "windows", _WINDOWS),
    ("schedulerName", "fargate-scheduler", _FARGATE),
    ("nodeSelector eks.amazonaws.com/compute-type", "fargate", _FARGATE),
)
# ... here it may: some providers create the pod again on a node of another cluster.
_WARNED = (("nodeSelector type", "virtual-kubelet", _VIRTUAL),)


def node_problems(spec: dict[str, Any]) -> Iterator[str]:
    return _reasons(spec, _REFUSED)


def node_warnings(spec: dict[str, Any]) -> Iterator[str]:
    return _reasons(spec, _WARNED)


def _reasons(spec: dict[str, Any], table: tuple[tuple[str, str, str], ...]) -> Iterator[str]:
    labels = object_of(spec, "nodeSelector").items()
    fields = {f"nodeSelector {key}": value for key, value in labels}
    fields["os.name"] = object_of(spec, "os").get("name")
    fields["schedulerName"] = spec.get("schedulerName")
    return (f"{key} is {value}: {why}" for key, value, why in table if fields.get(key) == value)
