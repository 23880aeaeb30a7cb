"""The broker, and what makes it give a node the tokens of its own pods only."""

import ssl
import time
from collections.abc import Iterator
from typing import Any

from csidriver.core.kubernetes.timestamp import parse_rfc3339
from csidriver.core.names import BROKER, BROKER_CA, NODE
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.driver_checks import logs, replicas
from csidriver.kubectl.doctor.finding import Finding, ok, problem, warning
from csidriver.kubectl.errors import Forbidden
from csidriver.kubectl.output.ages import human_duration

# Seconds; kubelet tries again within two minutes, and each time renews its event.
_RECENT = 300.0
# A node that does not exist, with a label that NodeRestriction lets no kubelet set.
_DOCTOR = "oauth2-csi-doctor"
_LABEL = f"node-restriction.kubernetes.io/{_DOCTOR}"
_PROBE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": _DOCTOR, "labels": {_LABEL: ""}}}
_ISOLATE = "start kube-apiserver with --authorization-mode=Node,RBAC and "
_ISOLATE += "--enable-admission-plugins=NodeRestriction"


def check_broker(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    where = f"--namespace={namespace}"
    yield replicas("broker", "broker", kubectl.get("deployment", BROKER, where))
    selector = f"--selector=kubernetes.io/service-name={BROKER}"
    slices = kubectl.get("endpointslices", where, selector)["items"]
    if not any(_is_ready(each) for found in slices for each in found.get("endpoints") or ()):
        text = f"Service {namespace}/{BROKER} leads to no broker, so no node finds one"
        yield problem("broker", text, f"run: kubectl describe service {BROKER} -n {namespace}")


def check_broker_ca(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    data = kubectl.get("configmap", BROKER_CA, f"--namespace={namespace}").get("data") or {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=data.get("ca.crt", ""))
    except (OSError, ValueError):
        text = f"ConfigMap {namespace}/{BROKER_CA} has no CA, so no node trusts a broker"
        yield problem("broker CA", text, logs(namespace, "broker"))
        return
    ends = [ssl.cert_time_to_seconds(str(ca["notAfter"])) for ca in context.get_ca_certs()]
    left = max(ends, default=0.0) - time.time()
    if left > 0:
        yield ok("broker CA", f"nodes trust a CA that is valid for {human_duration(left)}")
    else:
        text = f"every CA in ConfigMap {namespace}/{BROKER_CA} has expired"
        yield problem("broker CA", text, logs(namespace, "broker"))


def check_broker_reach(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    flags = ("--all-namespaces", "--field-selector=reason=FailedMount")
    events = kubectl.get("events", *flags)["items"]
    nodes = sorted({_node(event) for event in events if _is_without_broker(event)})
    if nodes:
        text = f"pods do not start, because no broker answers on: {', '.join(nodes)}"
        yield warning("broker reach", text, logs(namespace, "node"))


def check_isolation(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    """Yield what would let root on one node have the tokens of others."""
    flags = ("--all-namespaces", f"--field-selector=metadata.name={NODE}")
    bindings = kubectl.get("rolebindings", *flags)["items"]
    if bindings:
        found = f"{bindings[0]['metadata']['namespace']}/{NODE}"
        text = f"root on any node may read all access tokens, by RoleBinding {found}"
        cure = "once all nodes run this version, install it with node.legacyRights=false"
        yield warning("isolation", text, cure)
    kubelet = kubectl.impersonating(f"system:node:{_DOCTOR}", "system:nodes")
    if kubelet.can_i("create", f"serviceaccounts/{NODE}", namespace, "--subresource=token"):
        text = "the authorizer Node does not limit kubelets to what pods of their own nodes need"
        yield warning("isolation", text, _ISOLATE)
        return
    try:
        kubelet.try_create(_PROBE)
    except Forbidden as error:
        if _LABEL not in str(error):
            raise
        if not bindings:
            yield ok("isolation", "each node gets the access tokens of its own pods only")
        return
    text = "NodeRestriction is off, so each kubelet gets tokens for pods of other nodes"
    yield warning("isolation", text, _ISOLATE)


def _is_ready(endpoint: Any) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False


def _is_without_broker(event: Any) -> bool:
    age = time.time() - (parse_rfc3339(event.get("lastTimestamp") or "") or 0.0)
    return age < _RECENT and f"no broker of {BROKER}" in event.get("message", "")


def _node(event: Any) -> str:
    return str((event.get("source") or {}).get("host") or "an unknown node")
