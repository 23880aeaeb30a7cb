"""Pods with a `to-inject` annotation."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

KEY = "oauth2-refresh-controller.cern.ch/to-inject"
ENTRY = {"secretName": "hello-token", "container": "main", "owner": 0}
Pod = dict[str, Any]
ANNOUNCED = Path(__file__).parents[3] / "examples/announcement"
TOKEN_PRINTER = (ANNOUNCED / "token-printer.yaml").read_text(encoding="utf-8")
# With the slip of the announcement: the pod has no container of that name.
EOS = (
    (ANNOUNCED / "eos.yaml")
    .read_text(encoding="utf-8")
    .split("---\n")[1]
    .replace('"container": "eos-printer"', '"container": "token-printer"')
)


def container(name: str, *mounts: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "image": "busybox"} | ({"volumeMounts": list(mounts)} if mounts else {})


def mounted(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "mountPath": path}


def pod_with(*entries: Any, **spec: Any) -> Pod:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "creationTimestamp": None,
            "annotations": {KEY: json.dumps(entries)},
        },
        "spec": {"containers": [container("main"), container("side")]} | spec,
    }


def as_mirror(pod: Pod) -> Pod:
    """Return the pod by which kubelet shows this static pod."""
    metadata = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u", "controller": True}
    marks = {"kubernetes.io/config.mirror": "5f1c", "kubernetes.io/config.source": "file"}
    metadata |= {"ownerReferences": [owner], "annotations": metadata["annotations"] | marks}
    return pod | {"metadata": metadata, "spec": pod["spec"] | {"nodeName": "n1"}}


TMP = {"name": "tmp", "emptyDir": {}}
NAMES = st.sampled_from(["a", "b", "c"])
MOUNTS = st.lists(st.sampled_from(["/x", "/tmp", "/tmp/oauthtk_1"]), max_size=2, unique=True)
CONTAINERS = st.builds(
    lambda name, paths: container(name, *[mounted("own", path) for path in paths]), NAMES, MOUNTS
)
ENTRIES = st.fixed_dictionaries(
    {"secretName": NAMES, "container": NAMES, "owner": st.integers(0, 2)},
    optional={"templateConfigMapName": NAMES, "extra": st.none()},
)
PODS = st.builds(
    lambda entries, containers, initial, volumes: pod_with(
        *entries, containers=containers, initContainers=initial, volumes=volumes
    ),
    st.lists(ENTRIES, max_size=3),
    st.lists(CONTAINERS, min_size=1, max_size=3, unique_by=lambda one: str(one["name"])),
    st.lists(st.just(container("init")), max_size=1) | st.none(),
    st.none() | st.just([]) | st.just([TMP]) | st.just([{"name": "own", "emptyDir": {}}]),
)
