"""kube-controller-manager and kube-scheduler of the cluster."""

from tests.cluster.controlplane import ControlPlane

USERS = {"system:kube-controller-manager": "", "system:kube-scheduler": ""}
_FLAGS = ("--leader-elect=false", "--secure-port=0")


def start(plane: ControlPlane) -> None:
    """Start kube-controller-manager and kube-scheduler; those that run are ended first."""
    for name in ("kube-controller-manager", "kube-scheduler"):
        plane.end(name, kill=True)
    plane.run(
        "kube-controller-manager",
        f"--kubeconfig={plane.kubeconfig_of('system:kube-controller-manager')}",
        f"--service-account-private-key-file={plane.root}/sa.key",
        f"--root-ca-file={plane.ca}",
        "--use-service-account-credentials=true",
        *_FLAGS,
    )
    kubeconfig = plane.kubeconfig_of("system:kube-scheduler")
    plane.run("kube-scheduler", f"--kubeconfig={kubeconfig}", *_FLAGS)
