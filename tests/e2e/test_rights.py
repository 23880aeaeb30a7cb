"""The rights of a stolen credential of the node plugin, which is installed without any."""

import pytest

from csidriver.core.names import SourceRef
from tests.e2e.user_namespace import CLIENT, UserNamespace, inject, pod, secret
from tests.issuer.issuer import ScriptedIssuer

_TOKENS = "oauth2-csi-tokens"


@pytest.fixture
def mine(user: UserNamespace, issuer: ScriptedIssuer) -> SourceRef:
    """A token that a pod uses."""
    user.apply(secret("mine", issuer.seed(CLIENT)), pod("main", inject("mine", 0)))
    user.wait_until_running("main")
    assert issuer.verify(user.file("main", "/tmp/oauthtk_0").content) is not None
    return SourceRef(user.name, "mine")


def test_the_node_may_do_what_every_service_account_may(
    user: UserNamespace, mine: SourceRef
) -> None:
    plane = user.cluster.own.plane
    user.kubectl("create", "serviceaccount", "nobody")
    node = plane.service_account("oauth2-csi", "oauth2-csi-node")
    nobody = plane.service_account(user.name, "nobody")
    for namespace in (user.name, "oauth2-csi", _TOKENS):
        listed = ("auth", "can-i", "--list", f"--namespace={namespace}")
        rights, of_all = (
            set(plane.kubectl(*listed, kubeconfig=account).splitlines())
            for account in (node, nobody)
        )
        assert "selfsubjectrulesreviews" in str(of_all)
        assert rights == of_all
    objects = ((user.name, mine.name), ("oauth2-csi", mine.grant), (_TOKENS, mine.companion))
    for namespace, name in objects:
        where = f"--namespace={namespace}"
        assert plane.try_kubectl("get", "secret", name, where).returncode == 0
        for command in (("get", "secret", name), ("get", "secrets"), ("delete", "secret", name)):
            done = plane.try_kubectl(*command, where, kubeconfig=node)
            assert done.returncode != 0
            assert "Forbidden" in done.stderr


def test_the_pod_of_the_plugin_has_no_credential_for_the_api(user: UserNamespace) -> None:
    pods = user.cluster.get("pods", "--namespace=oauth2-csi")["items"]
    plugins = [each for each in pods if each["spec"]["serviceAccountName"] == "oauth2-csi-node"]
    assert plugins
    for plugin in plugins:
        sources = [
            source["serviceAccountToken"].get("audience")
            for volume in plugin["spec"]["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            if "serviceAccountToken" in source
        ]
        assert sources == ["oauth2-csi-broker"]
