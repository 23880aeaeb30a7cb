"""The token file as a container sees it."""

import json
from pathlib import Path

import pytest

from tests.e2e.cluster import until
from tests.e2e.user_namespace import (
    CLIENT,
    PYTHON,
    UserNamespace,
    inject,
    pod,
    python,
    secret,
    volume,
)
from tests.issuer.issuer import ScriptedIssuer

PODS = "/var/lib/kubelet/pods"
_EOSXD = (Path(__file__).parent / "pods/eosxd.py").read_text(encoding="utf-8")


def test_a_pod_of_another_user_reads_by_its_fs_group(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    context = {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 2000}
    user.apply(
        secret("mine", issuer.seed(CLIENT)),
        pod("reader", volumes=[volume("mine")], securityContext=context),
    )
    user.wait_until_running("reader")
    found = user.file("reader", "/token/token")
    assert (found.mode, found.owner) == ("-r--r-----", "0:2000")
    assert issuer.verify(found.content) is not None
    assert user.execute("reader", "id", "-u").strip() == "1000"


@pytest.mark.parametrize(
    "path", ["/tmp/oauthtk_1000", "/token/token"], ids=["sub_path", "directory"]
)
def test_eosxd_can_read_it(user: UserNamespace, issuer: ScriptedIssuer, path: str) -> None:
    ids = {"runAsUser": 1000, "runAsGroup": 1000}
    by_hand = [volume("mine", owner="1000")] if path.startswith("/token") else []
    user.apply(
        secret("mine", issuer.seed(CLIENT)),
        pod(
            "eosxd",
            {} if by_hand else inject("mine", 1000),
            volumes=by_hand,
            main=python(user.cluster.image, "import time; time.sleep(3600)"),
            securityContext=ids,
        ),
    )
    user.wait_until_running("eosxd")
    seen = json.loads(user.execute("eosxd", PYTHON, "-c", _EOSXD, path, "2"))
    contents = [content for _, content in seen]
    assert len(set(contents)) == len(seen), "the time of change moved, and the bytes did not"
    assert len({moment for moment, _ in seen}) == len(seen)
    assert all(issuer.verify(content) is not None for content in contents), "exact bytes"


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
