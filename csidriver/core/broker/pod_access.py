"""Which objects a node may have for a pod.

Nothing counts but what a kubelet cannot write: the identity of the pod, the node to which it is
bound, and its specification. Annotations and status belong to the kubelet; a phase only takes away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain
from csidriver.core.names import DRIVER_NAME
from csidriver.core.volume.attributes import named_objects

# Older API servers let a kubelet create static pods with CSI volumes.
_MIRROR = "kubernetes.io/config.mirror"
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class PodRef:
    """A pod; another pod of the same name has another uid."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A node's request for an object of a pod's namespace: a Secret's token, or a template."""

    pod: PodRef
    name: str
    is_template: bool = False

    def validate(self) -> None:
        """Raise Denied if a name is not valid, and therefore must be in no URL and no log."""
        pod = self.pod
        names = is_dns1123_subdomain(pod.name) and is_dns1123_subdomain(self.name)
        if not names or not is_dns1123_label(pod.namespace) or not is_dns1123_label(pod.uid):
            raise Denied(Denial.INVALID_REQUEST, "the request names no valid pod and object")


def existing_pod(manifest: Mapping[str, Any] | None, pod: PodRef) -> Mapping[str, Any]:
    """Return the manifest; raises Denied unless it is that of the pod."""
    if manifest is None:
        raise Denied(Denial.POD_ABSENT, f"there is no pod {pod}")
    if manifest["metadata"].get("uid") != pod.uid:
        raise Denied(Denial.POD_REPLACED, f"pod {pod} has another uid")
    return manifest


def check_access(manifest: Mapping[str, Any] | None, request: AccessRequest, node: str) -> None:
    """Raise Denied unless a pod, as the API server has it, may have the object on the node."""
    pod = request.pod
    manifest = existing_pod(manifest, pod)
    spec = manifest["spec"]
    if not node or node_of(manifest) != node:
        raise Denied(Denial.OTHER_NODE, f"pod {pod} is not bound to node {node}")
    if _MIRROR in (manifest["metadata"].get("annotations") or {}):
        raise Denied(Denial.STATIC_POD, f"pod {pod} is the mirror of a static pod")
    if not spec.get("serviceAccountName"):
        raise Denied(Denial.STATIC_POD, f"pod {pod} has no service account")
    if (manifest.get("status") or {}).get("phase") in _ENDED:
        raise Denied(Denial.POD_ENDED, f"pod {pod} has ended")
    if not any(_names(volume, request) for volume in spec.get("volumes") or []):
        raise Denied(Denial.NOT_IN_POD, f"no volume of pod {pod} names this object")


def node_of(manifest: Mapping[str, Any]) -> str:
    """Return the node to which a pod is bound, "" without one."""
    return str(manifest["spec"].get("nodeName") or "")


def _names(volume: Mapping[str, Any], request: AccessRequest) -> bool:
    csi = volume.get("csi") or {}
    if csi.get("driver") != DRIVER_NAME:
        return False
    secret, config_map = named_objects(csi.get("volumeAttributes") or {})
    return request.name == (config_map if request.is_template else secret)
