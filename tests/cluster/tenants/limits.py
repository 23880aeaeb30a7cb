"""Limits of the chart as it is installed by default."""

from tests.cluster.installation import manifests


def memory_limit(role: str) -> int:
    """Return the memory limit of a role's container in bytes."""
    (pod,) = (
        workload["spec"]["template"]["spec"]
        for workload in manifests("Deployment", "DaemonSet")
        if workload["metadata"]["name"] == f"oauth2-csi-{role}"
    )
    (container,) = pod["containers"]
    return int(container["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
