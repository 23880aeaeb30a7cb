"""A user's namespace: Secrets, pods, and the token files that their containers see."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from csidriver.core.annotations import IS_TOKEN, ISSUER, STATUS, TO_INJECT
from csidriver.core.names import DRIVER_NAME
from csidriver.core.sensitive import Sensitive
from tests.e2e.cluster import Cluster, Manifest, until
from tests.e2e.node import Node

BUSYBOX = "busybox"
PYTHON = "/opt/oauth2-csi/bin/python"  # of the project's image
CLIENT = "my-app"  # of the announcement's Secret


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token file as a container sees it."""

    content: str
    mode: str
    owner: str
    inode: int


class UserNamespace:
    """Acts in the namespace `name`."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.cluster.kubectl(f"--namespace={self.name}", *arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, *manifests: Manifest) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--filename=-", stdin=json.dumps(items))

    def try_apply(self, *manifests: Manifest) -> bool:
        try:
            self.apply(*manifests)
        except AssertionError:
            return False
        return True

    def access_token(self, secret: str) -> str:
        data = self.get("secret", secret)["data"]["oauth"]
        return str(json.loads(base64.b64decode(data).split(b"}")[0] + b"}")["access_token"])

    def status(self, secret: str) -> str:
        annotations = self.get("secret", secret)["metadata"].get("annotations", {})
        return str(annotations.get(STATUS, ""))

    def wait_for_status(self, secret: str, status: str) -> None:
        until(f"{secret} is {status}", lambda: self.status(secret) == status)

    def wait_for_next_token(self, secret: str) -> None:
        old = self.access_token(secret)
        until(f"{secret} is refreshed", lambda: self.access_token(secret) != old)

    def wait_until_running(self, pod: str, seconds: float = 120) -> None:
        self.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", f"--timeout={seconds}s")

    def node_of(self, pod: str) -> Node:
        """Return the node on which a pod runs; skip the test on another cluster than ours."""
        return self.cluster.own.node(self.get("pod", pod)["spec"]["nodeName"])

    def execute(self, pod: str, *command: str) -> str:
        return self.kubectl("exec", pod, "--", *command)

    def file(self, pod: str, path: str) -> TokenFile:
        script = f"stat -c '%A %u:%g %i' {path} && cat {path}"
        first, _, content = self.execute(pod, "sh", "-c", script).partition("\n")
        mode, owner, inode = first.split()
        return TokenFile(content, mode, owner, int(inode))

    def wait_for_content(self, pod: str, path: str, secret: str, text: str = "{}") -> TokenFile:
        """Wait until a file is `text` with the access token of a Secret; return the file."""

        def file_with_token() -> TokenFile | None:
            found = self.file(pod, path)
            return found if found.content == text.format(self.access_token(secret)) else None

        found: TokenFile = until(f"{path} of {pod} has the token of {secret}", file_with_token)
        return found

    def mount_failures(self, pod: str) -> list[str]:
        fields = f"--field-selector=involvedObject.name={pod},reason=FailedMount"
        return [event["message"] for event in self.get("events", fields)["items"]]

    def delete(self, *names: str) -> None:
        self.kubectl("delete", "--wait=true", "--timeout=120s", *names)


def new_user_namespace(cluster: Cluster, name: str) -> UserNamespace:
    cluster.kubectl("create", "namespace", name)
    ready = ("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
    cluster.kubectl(*ready, f"--namespace={name}")
    return UserNamespace(cluster, name)


def secret(name: str, token: Sensitive, *, issuer: str = "") -> Manifest:
    """A Secret as in the announcement, with the refresh token of a fresh sign-in."""
    oauth = {"access_token": "eyJhb...", "refresh_token": token.reveal(), "token_type": "Bearer"}
    annotations = {IS_TOKEN: "true"} | ({ISSUER: issuer} if issuer else {})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": annotations},
        "stringData": {
            "oauth": json.dumps(oauth),
            "clientID": "my-app",
            "clientSecret": "my-app-client-secret",
        },
    }


def volume(secret_name: str, **attributes: str) -> Manifest:
    """A volume `token` of a pod, written by hand."""
    attributes = {"secretName": secret_name} | attributes
    csi = {"driver": DRIVER_NAME, "readOnly": True, "volumeAttributes": attributes}
    return {"name": "token", "csi": csi}


def inject(secret_name: str, owner: int) -> dict[str, str]:
    """The annotation that asks for a token in the container of a pod."""
    entry = {"secretName": secret_name, "container": "main", "owner": owner}
    return {TO_INJECT: json.dumps([entry])}


def pod(name: str, annotations: dict[str, str] | None = None, **spec: Any) -> Manifest:
    """A pod that does nothing; a volume is at /token. `main` are fields of its container."""
    main = spec.pop("main", {})
    container: Manifest = {
        "name": "main",
        "image": BUSYBOX,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
    }
    if spec.get("volumes"):
        container["volumeMounts"] = [{"name": "token", "mountPath": "/token", "readOnly": True}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [container | main],
        }
        | spec,
    }


def on(node: str) -> dict[str, Any]:
    """Fields of a pod that runs on a node; empty for any node."""
    return {"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}


def python(image: str, script: str, *arguments: str) -> dict[str, Any]:
    """Fields of a container that runs Python in the project's image."""
    return {"image": image, "command": [PYTHON, "-c", script, *arguments]}
