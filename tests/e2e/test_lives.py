"""Lives of pods, and of the plugin's own: what ends, and what goes on."""

import subprocess

from tests.e2e import readers
from tests.e2e.cluster import Cluster
from tests.e2e.user_namespace import CLIENT, UserNamespace, inject, pod, secret, volume
from tests.issuer.issuer import ScriptedIssuer


def test_a_terminating_pod_reads_valid_tokens_until_it_ends(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    # Of 60 s grace it uses 45: more than two lives of a token.
    found = readers.start(user, issuer, grace=60, seconds_after_sigterm=45)
    logs = [
        subprocess.Popen(  # noqa: S603 - a program of ours
            user.cluster.admin.command("logs", "--follow", reader.name, f"--namespace={user.name}"),
            stdout=subprocess.PIPE,
            text=True,
        )
        for reader in found
    ]
    user.kubectl("delete", "pod", *(reader.name for reader in found), "--wait=false")
    for log in logs:
        lines = log.communicate(timeout=120)[0].splitlines()
        (asked,) = [line for line in lines if "terminating" in line]
        before, after = (
            readers.tally_of(part)
            for part in (lines[: lines.index(asked)], lines[lines.index(asked) + 1 :])
        )
        assert readers.is_clean(after)
        assert len(after["first_reads"]) >= len(before["first_reads"]) + 2, (
            "it got new ones meanwhile"
        )


def test_old_volumes_rotate_after_the_plugin_pod_is_replaced(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    user.apply(
        secret("mine", issuer.seed(CLIENT)),
        pod("main", inject("mine", 0), volumes=[volume("mine", owner="0")]),
    )
    user.wait_until_running("main")
    paths = ("/tmp/oauthtk_0", "/token/token")
    before = {path: user.file("main", path) for path in paths}
    replace_plugin(user.cluster)
    for path in paths:
        after = user.wait_for_change("main", path, before[path])
        assert issuer.verify(after.content) is not None
        assert after.inode == before[path].inode
    uid = user.get("pod", "main")["metadata"]["uid"]
    node = user.node_of("main")
    targets = [mount for mount in node.mounts(uid) if "/volumes/kubernetes.io~csi/" in mount.target]
    assert len(targets) == 2
    assert all(mount.read_only for mount in targets)
    user.delete("pod/main")
    assert node.mounts(uid) == []


def replace_plugin(cluster: Cluster) -> None:
    """Delete the node plugin's pod and wait for the next one."""
    select = "--selector=app.kubernetes.io/component=node"
    cluster.kubectl("delete", "pods", select, "--namespace=oauth2-csi", "--wait=true")
    cluster.roll_out("daemonset/oauth2-csi-node")
