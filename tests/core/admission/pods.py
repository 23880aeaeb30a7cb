"""Pods with a `to-inject` annotation."""

import json
from typing import Any

from hypothesis import strategies as st

KEY = "oauth2-refresh-controller.cern.ch/to-inject"


ENTRY = {"secretName": "hello-token", "container": "main", "owner": 0}


Pod = dict[str, Any]


# As pasted from the release announcement of oauth2-refresh-controller 1.0.1.
TOKEN_PRINTER = r"""
apiVersion: v1
kind: Pod
metadata:
  name: token-printer-pod

  annotations:
    # to-inject annotation describes which token to inject into what container, and under what user.
    # It's a JSON-formatted string holding an array of objects with following schema:
    #
    # * secretName: (string) Name of the OAuth2 token Secret in Pod's namespace.
    # * container: (string) Name of the container into which inject the token.
    # * owner: (integer) The token file will have its UID and GID set to this value.
    #
    # See docs at https://kubernetes.docs.cern.ch/docs/security/credentials/#oauth2
    # for complete list of available parameters (link restricted for internal access only).

    oauth2-refresh-controller.cern.ch/to-inject: |
      [
        {
          "secretName": "hello-token",
          "container": "token-printer",
          "owner": 0
        }
      ]

spec:
  containers:

  - name: token-printer
    image: busybox
    imagePullPolicy: IfNotPresent
    command:
    - /bin/sh
    - -c
    - |
      while true; do
        cat /tmp/oauthtk_0
        date
        sleep 20m
      done
"""


EOS = r"""
apiVersion: v1
kind: Pod
metadata:
  name: token-printer-pod

  annotations:
    oauth2-refresh-controller.cern.ch/to-inject: |
      [
        {
          "secretName": "hello-token",
          "container": "token-printer",
          "owner": 0,
          "templateConfigMapName": "oauth-token-eos-template"
        }
      ]

spec:
  volumes:
  - name: eos
    hostPath:
      path: /var/eos

  containers:

  - name: eos-printer
    image: busybox
    imagePullPolicy: IfNotPresent
    volumeMounts:
    - name: eos
      mountPath: /eos
    env:
    - name: OAUTH2_TOKEN
      value: FILE:/tmp/oauthtk_0
    command:
    - /bin/sh
    - -c
    - |
      while true; do
        cat /tmp/oauthtk_0
        ls -l /eos/home-r/rvasek
        sleep 20m
      done
"""


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
