"""The objects of a large cluster, made from numbers: each node has pods, each with one volume."""

from typing import Any

from csidriver.core import names
from csidriver.core.annotations import COMPANION_SECRET_TYPE
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import BROKER_AUDIENCE, DRIVER_NAME, SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status

NAMESPACE = "physics"
# The first pod of each node uses the shared companion, the others take turns with the others.
PODS, COMPANIONS, SHARED = 20, 1000, 0
_ACCOUNT = f"{names.DRIVER_NAMESPACE}:{names.NODE}"
_EXTRA = "authentication.kubernetes.io/"
# Managers of fields, conditions, environment: what the API server says of a pod beside our volume.
_FILLER = "x" * 3500
_MANAGED = {
    "annotations": {},
    "managedFields": [{"manager": names.FIELD_MANAGER, "fieldsV1": {"f:data": _FILLER[:500]}}],
}


def source_of(node: int, number: int) -> SourceRef:
    """Return the source of a pod's token."""
    other = 1 + (node * (PODS - 1) + number - 1) % (COMPANIONS - 1)
    return _source(SHARED if number == 0 else other)


def pod_name(node: int, number: int) -> str:
    return f"pod-{node}-{number}"


def uid(name: str) -> str:
    return f"uid-{name}"


def pod(name: str) -> dict[str, Any]:
    """Return the manifest of a pod, as large as a small one is."""
    _, node, number = name.split("-")
    source = source_of(int(node), int(number))
    attributes = {"secretName": source.name, "owner": "0"}
    volume = {"name": "token", "csi": {"driver": DRIVER_NAME, "volumeAttributes": attributes}}
    metadata = {"namespace": NAMESPACE, "name": name, "uid": uid(name), **_MANAGED}
    spec = {
        "nodeName": f"node-{node}",
        "serviceAccountName": "default",
        "volumes": [volume],
        "containers": [{"name": "main", "image": "main", "args": [_FILLER]}],
    }
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Running"}}


def pods_of(node: str) -> list[dict[str, Any]]:
    """Return the metadata of a node's pods."""
    number = int(node.removeprefix("node-"))
    found = (pod(pod_name(number, each)) for each in range(PODS))
    return [metadata_only(each) for each in found]


def metadata_only(manifest: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "PartialObjectMetadata", "metadata": manifest["metadata"]}


def namespace(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid(name)}}


def review(token: str) -> dict[str, Any]:
    """Return the review of a node's token, which is the node's name; others are refused."""
    if not token.startswith("node-"):
        return {"status": {"authenticated": False, "error": "invalid bearer token"}}
    extra = {"node-name": token, "pod-name": f"plugin-{token}", "pod-uid": uid(token)}
    user = {
        "username": f"system:serviceaccount:{_ACCOUNT}",
        "extra": {f"{_EXTRA}{key}": [value] for key, value in extra.items()},
    }
    return {"status": {"authenticated": True, "audiences": [BROKER_AUDIENCE], "user": user}}


def companion_of(number: int, generation: int, token: str, version: int) -> dict[str, Any]:
    """Return the Secret with a companion, as the refresher writes it."""
    access = AccessToken(Sensitive(token), "Bearer", 1000.0, 4600.0, 1000.0)
    ref = _source(number)
    made = Companion(ref, "uid-1", generation, Status.READY, "", 2800.0, access, uid(NAMESPACE))
    secret = Secret(
        names.TOKENS_NAMESPACE,
        ref.companion,
        type=COMPANION_SECRET_TYPE,
        annotations=made.annotations(),
        data=made.data(),
    )
    manifest = secret.to_manifest()
    manifest["metadata"] = _MANAGED | manifest["metadata"] | {"resourceVersion": str(version)}
    return manifest


def _source(number: int) -> SourceRef:
    return SourceRef(NAMESPACE, f"source-{number}")
