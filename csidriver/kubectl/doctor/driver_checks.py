"""The driver in the cluster: the CSIDriver object, the nodes, the refresher."""

import shlex
import time
from collections.abc import Iterator, Mapping
from typing import Any

from csidriver.core.kubernetes.timestamp import parse_rfc3339
from csidriver.core.names import DRIVER_NAME, NODE, REFRESHER
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.finding import Finding, ok, problem, warning
from csidriver.kubectl.output.ages import human_duration

# As the chart has it; without one of them pods cannot use the volumes, or not safely.
CSI_DRIVER: Mapping[str, Any] = {
    "attachRequired": False,
    "podInfoOnMount": True,
    "requiresRepublish": True,
    "fsGroupPolicy": "None",
    "volumeLifecycleModes": ["Ephemeral"],
}
# Seconds by which a Lease may be overdue: the clocks of two machines differ a little.
_TOLERANCE = 30.0


def check_csi_driver(kubectl: Kubectl) -> Iterator[Finding]:
    spec = kubectl.get("csidriver", DRIVER_NAME)["spec"]
    wrong = [key for key, value in CSI_DRIVER.items() if spec.get(key) != value]
    if wrong:
        yield problem(
            "CSIDriver",
            f"CSIDriver {DRIVER_NAME} is not as the driver needs it: {', '.join(wrong)}",
            f"install the driver again, after: kubectl delete csidriver {DRIVER_NAME}",
        )
    else:
        yield ok("CSIDriver", f"CSIDriver {DRIVER_NAME} is as the driver needs it")


def check_nodes(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    daemon_set = kubectl.get("daemonset", NODE, f"--namespace={namespace}")
    status = daemon_set.get("status") or {}
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    run = f"run: kubectl get pods -n {namespace} -l app.kubernetes.io/component=node -o wide"
    containers = [entry["name"] for entry in daemon_set["spec"]["template"]["spec"]["containers"]]
    if "node" not in containers:
        text = "the plugin is switched off on all nodes, for a cleanup"
        yield problem("nodes", text, "install the driver again, without node.cleanup")
    elif not wanted:
        text = "the plugin should run on no node at all"
        yield problem("nodes", text, f"run: kubectl describe daemonset {NODE} -n {namespace}")
    elif not ready:
        yield problem("nodes", f"the plugin is ready on none of {wanted} nodes", run)
    elif ready < wanted:
        text = f"the plugin is ready on {ready} of {wanted} nodes; on the others no pod starts "
        yield warning("nodes", f"{text}with a token", run)
    else:
        yield ok("nodes", f"the plugin is ready on all of {wanted} nodes")


def check_refresher(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    deployment = kubectl.get("deployment", REFRESHER, f"--namespace={namespace}")
    yield replicas("refresher", "refresher", deployment)


def check_lease(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    spec = kubectl.get("lease", REFRESHER, f"--namespace={namespace}")["spec"]
    run = logs(namespace, "refresher")
    holder, renewed = spec.get("holderIdentity"), parse_rfc3339(spec.get("renewTime") or "")
    if not holder or renewed is None:
        yield problem("lease", f"no refresher holds Lease {namespace}/{REFRESHER}", run)
        return
    age = time.time() - renewed
    if age > spec.get("leaseDurationSeconds", 0) + _TOLERANCE:
        text = f"Lease {namespace}/{REFRESHER} was not renewed for {human_duration(age)}: no "
        yield problem("lease", f"{text}refresher works, or the clock of this machine is fast", run)
    elif age < -_TOLERANCE:
        text = f"Lease {namespace}/{REFRESHER} is renewed {human_duration(-age)} in the future: "
        yield warning("lease", f"{text}the clocks of this machine and of the cluster differ")
    else:
        yield ok("lease", f"{holder} holds the Lease")


def logs(namespace: str, role: str) -> str:
    """Return the command that prints the end of the logs of a role."""
    where = f"-n {shlex.quote(namespace)} -l app.kubernetes.io/component={role}"
    return f"run: kubectl logs {where} --prefix --tail=50"


def replicas(check: str, role: str, deployment: Mapping[str, Any]) -> Finding:
    """Return the finding of the Deployment of a role."""
    metadata, status = deployment["metadata"], deployment.get("status") or {}
    name, namespace = metadata["name"], metadata["namespace"]
    wanted, ready = deployment["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    run = f"run: kubectl describe pods -n {namespace} -l app.kubernetes.io/component={role}"
    if not ready:
        return problem(check, f"no pod of Deployment {namespace}/{name} is ready", run)
    if ready < wanted:
        text = f"{ready} of {wanted} pods of Deployment {namespace}/{name} are ready"
        return warning(check, text, run)
    return ok(check, f"{ready} of {wanted} pods are ready")
