"""The rights of a stolen credential of the node plugin."""

import subprocess

from csidriver.core.names import SourceRef
from tests.e2e.user_namespace import CLIENT, UserNamespace, secret
from tests.issuer.issuer import ScriptedIssuer


def test_the_node_reads_companions_but_no_source_and_no_grant(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    user.apply(secret("mine", issuer.seed(CLIENT)))
    user.wait_for_status("mine", "Ready")
    ref = SourceRef(user.name, "mine")
    plane = user.cluster.own.plane
    kubeconfig = plane.service_account("oauth2-csi", "oauth2-csi-node")

    def as_node(namespace: str, *command: str) -> "subprocess.CompletedProcess[str]":
        return plane.try_kubectl(*command, f"--namespace={namespace}", kubeconfig=kubeconfig)

    assert as_node("oauth2-csi-tokens", "get", "secret", ref.companion).returncode == 0
    for namespace, name in ((user.name, "mine"), ("oauth2-csi", ref.grant)):
        assert plane.try_kubectl("get", "secret", name, f"--namespace={namespace}").returncode == 0
        for command in (("get", "secret", name), ("get", "secrets"), ("delete", "secret", name)):
            done = as_node(namespace, *command)
            assert done.returncode != 0
            assert "Forbidden" in done.stderr
