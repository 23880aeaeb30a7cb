"""Root on node-a of a real API server: the kubelet's credential, and each token it may ask for."""

import json
import subprocess
from typing import Any

import urllib3

from csidriver.adapters.kubernetes import BrokerBackend, KubernetesClient, from_kubeconfig
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import BROKER, BROKER_AUDIENCE, NODE, SourceRef
from tests.broker.fakes import companion, pod_manifest
from tests.cluster.controlplane import ControlPlane
from tests.cluster.installation import RIGHTS, Manifest
from tests.cluster.noderole import DRIVER, companion_secret, write_secret
from tests.deploy.rendering import of_kind, rendered
from tests.waiting import until

ALICE, BOB = "alice-of-broker", "bob-of-broker"
HELLO, OTHER = SourceRef(ALICE, "hello-token"), SourceRef(ALICE, "other")
OF_B = SourceRef(BOB, "of-b")
KUBELET = "system:node:node-a"
KUBELETS = {KUBELET: "system:nodes", "system:node:node-b": "system:nodes"}
AUDIENCE = f"--audience={BROKER_AUDIENCE}"
MIRROR = {"kubernetes.io/config.mirror": "1", "kubernetes.io/config.source": "file"}


Done = subprocess.CompletedProcess[str]


class Thief:
    """The cluster of a thief, with the driver's rights as the chart has them.

    `web` on node-a uses HELLO and a template; `of_b` on node-b uses OF_B; nothing uses OTHER.
    """

    def __init__(self, plane: ControlPlane, *values: str) -> None:
        self.plane = plane
        plane.apply_objects(of_kind(rendered("namespace.create=true", *values), *RIGHTS))
        for namespace in (ALICE, BOB):
            plane.kubectl("create", "namespace", namespace)
            plane.kubectl("create", "serviceaccount", "default", f"--namespace={namespace}")
        self.plugins: dict[str, PodRef] = {}
        self._node_uids: dict[str, str] = {}
        for node in "ab":
            made = self._post("nodes", {"kind": "Node", "metadata": {"name": f"node-{node}"}})
            self._node_uids[node] = made["metadata"]["uid"]
            self.plugins[node] = self.pod(DRIVER, f"plugin-{node}", f"node-{node}", account=NODE)
        for ref in (HELLO, OTHER, OF_B):
            self.write(ref)
        for name in ("page", "private"):
            content = f"--from-literal=template={name}"
            plane.kubectl("create", "configmap", name, content, f"--namespace={ALICE}")
        self.web = self.pod(ALICE, "web", "node-a", HELLO.name)
        self.of_b = self.pod(BOB, "db", "node-b", OF_B.name)

    def pod(self, namespace: str, name: str, node: str, *secrets: str, **options: Any) -> PodRef:
        content = pod_of(name, node, *secrets, **options)
        made = self._post(f"namespaces/{namespace}/pods", content)
        return PodRef(namespace, name, made["metadata"]["uid"])

    def delete(self, pod: PodRef) -> None:
        """Delete a pod, as if its kubelet had ended it; no cache of the API server affirms it."""
        self.plane.kubectl("delete", "pod", pod.name, "--force", f"--namespace={pod.namespace}")
        cached = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}?resourceVersion=0"
        until(lambda: self.plane.api("GET", cached)["kind"] == "Status", "the cache follows")

    def write(self, ref: SourceRef, generation: int = 1) -> None:
        uid = self.plane.api("GET", f"/api/v1/namespaces/{ref.namespace}")["metadata"]["uid"]
        written = companion(generation, ref, namespace_uid=uid)
        write_secret(self.plane, companion_secret(written, ref))

    def token(
        self, *flags: str, account: str = NODE, namespace: str = DRIVER, pod: str = ""
    ) -> str:
        """Return a token that an administrator may ask for, bound to a pod if there is one."""
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}") if pod else ()
        where = f"--namespace={namespace}"
        return self.plane.kubectl("create", "token", account, where, *flags, *bound).strip()

    def kubelet(self, *arguments: str, stdin: str = "") -> Done:
        kubeconfig = self.plane.kubeconfig_of(KUBELET)
        return self.plane.try_kubectl(*arguments, stdin=stdin, kubeconfig=kubeconfig)

    def plugin_token(self, node: str, audience: str = AUDIENCE) -> Done:
        """Ask for the token of a node's plugin with the kubelet's credential."""
        plugin = self.plugins[node]
        bound = (f"--bound-object-name={plugin.name}", f"--bound-object-uid={plugin.uid}")
        flags = (f"--namespace={DRIVER}", audience, "--bound-object-kind=Pod", *bound)
        return self.kubelet("create", "token", NODE, *flags)

    def mirror(self, name: str, account: str = "") -> str:
        """Return a pod as the kubelet creates it for a file of its node."""
        content = pod_of(name, "node-a", account=account, annotations=MIRROR)
        owner = {"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": self._node_uids["a"]}
        content["metadata"]["ownerReferences"] = [owner | {"controller": True}]
        return json.dumps(content)

    def backend(self) -> BrokerBackend:
        kubeconfig = self.plane.service_account(DRIVER, BROKER)
        return BrokerBackend(KubernetesClient(from_kubeconfig(kubeconfig)))

    def _post(self, path: str, manifest: Manifest) -> Manifest:
        content = {"apiVersion": "v1", **manifest}
        answer: Manifest = self.plane.api("POST", f"/api/v1/{path}", content)
        assert answer["kind"] == manifest["kind"], answer
        return answer


def credential(plane: ControlPlane, user: str) -> str:
    config = json.loads(plane.kubeconfig_of(user).read_text())
    return str(config["users"][0]["user"]["token"])


def patch_status(plane: ControlPlane, kubelet: str, pod: PodRef, patch: Manifest) -> int:
    """Change a pod's status as a kubelet does, which may not read it; return the HTTP status."""
    kind = "application/strategic-merge-patch+json"
    headers = {"Authorization": f"Bearer {credential(plane, kubelet)}", "Content-Type": kind}
    url = f"{plane.server}/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
    with urllib3.PoolManager(ca_certs=str(plane.ca)) as pool:
        return pool.request("PATCH", url, body=json.dumps(patch), headers=headers).status


def pod_of(name: str, node: str, *secrets: str, **options: Any) -> Manifest:
    manifest = pod_manifest(PodRef("", name, ""), node, *secrets, templateConfigMapName="page")
    account = options.get("account", "default")
    volumes = manifest["spec"]["volumes"]
    for volume in volumes:
        volume["csi"]["readOnly"] = True
    if account == NODE:
        # A kubelet gets tokens for the audiences that a pod of its node names.
        source = {"serviceAccountToken": {"audience": BROKER_AUDIENCE, "path": "token"}}
        volumes.append({"name": "token", "projected": {"sources": [source]}})
    spec = {
        "nodeName": node,
        "containers": [{"name": "main", "image": "main"}],
        "volumes": volumes,
        **({"serviceAccountName": account} if account else {}),
        "automountServiceAccountToken": False,
    }
    metadata = {"name": name, "annotations": options.get("annotations", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
