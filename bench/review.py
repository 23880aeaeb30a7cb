"""The AdmissionReview of a pod with three containers, as kube-apiserver sends it."""

import json
from typing import Any

from csidriver.core import annotations

_CONTAINERS = ("web", "worker", "metrics")


def review(size: int = 0) -> dict[str, Any]:
    """Each container wants a token; a further annotation has so many bytes."""
    wanted = [{"secretName": "eos", "container": name, "owner": 1000} for name in _CONTAINERS]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "analysis-7c9f8d6b54-",
            "namespace": "physics",
            "labels": {"app": "analysis", "pod-template-hash": "7c9f8d6b54"},
            "annotations": {annotations.TO_INJECT: json.dumps(wanted), "size": "x" * size},
        },
        "spec": {
            "containers": [_container(name) for name in _CONTAINERS],
            "volumes": [{"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420}}],
            "serviceAccountName": "default",
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute"}
                for taint in ("not-ready", "unreachable")
            ],
        },
    }
    request = {
        "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "physics",
        "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def _container(name: str) -> dict[str, Any]:
    environment = [{"name": f"SETTING_{number}", "value": "x" * 40} for number in range(10)]
    return {
        "name": name,
        "image": f"registry.example/{name}:1.0",
        "env": environment,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [
            {
                "name": "kube-api-access-x7k2p",
                "readOnly": True,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            }
        ],
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
    }
