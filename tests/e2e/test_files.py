"""What kubelet and plugin leave of a pod."""

from tests.e2e.cluster import until
from tests.e2e.user_namespace import CLIENT, UserNamespace, inject, pod, secret, volume
from tests.issuer.issuer import ScriptedIssuer

PODS = "/var/lib/kubelet/pods"


def test_a_deleted_pod_leaves_no_mount(user: UserNamespace, issuer: ScriptedIssuer) -> None:
    user.apply(
        secret("mine", issuer.seed(CLIENT)),
        pod("short", inject("mine", 0), volumes=[volume("mine", owner="0")]),
    )
    user.wait_until_running("short")
    uid = user.get("pod", "short")["metadata"]["uid"]
    node = user.node_of("short")
    volumes = [m for m in node.mounts(uid) if "/volumes/kubernetes.io~csi/" in m.target]
    assert len(volumes) == 2
    assert all(mount.read_only for mount in volumes), "where kubelet sees it, too"
    paths = [mount for mount in node.mounts(uid) if "/volume-subpaths/" in mount.target]
    assert [mount.read_only for mount in paths] == [True]
    user.delete("pod/short")
    assert node.mounts(uid) == []
    until("the pod's folder is gone", lambda: not node.path(f"{PODS}/{uid}").exists())
