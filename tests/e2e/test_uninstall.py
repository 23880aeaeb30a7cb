"""The driver goes before its pods. Nothing comes after this test."""

import json

from tests.e2e.cluster import Cluster, until
from tests.e2e.installation import install
from tests.e2e.user_namespace import CLIENT, UserNamespace, inject, pod, secret
from tests.issuer.issuer import ScriptedIssuer


def test_removed_before_its_pods_it_strands_nothing_for_good(
    driver: Cluster, user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    user.apply(secret("mine", issuer.seed(CLIENT)), pod("main", inject("mine", 0)))
    user.wait_until_running("main")
    uid = user.get("pod", "main")["metadata"]["uid"]
    node = user.node_of("main")
    driver.helm("uninstall", "oauth2-csi", "--namespace=oauth2-csi", "--wait")
    user.file("main", "/tmp/oauthtk_0")
    user.apply(pod("other", inject("mine", 0)))
    user.wait_until_running("other")
    user.kubectl("delete", "pod", "main", "--wait=false")
    until(
        "its container has ended",
        lambda: all(
            "terminated" in container["state"]
            for container in user.get("pod", "main")["status"]["containerStatuses"]
        ),
    )
    assert node.mounts(uid), "nobody answers kubelet's NodeUnpublishVolume"
    issuers = [{"name": "fast", "issuer": issuer.url, "default": True, "internal": True}]
    install(driver, f"issuers={json.dumps(issuers)}")
    user.kubectl("wait", "--for=delete", "pod/main", "--timeout=180s")
    assert node.mounts(uid) == []
