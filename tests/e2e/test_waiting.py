"""Pods that come before their token, or whose token never comes."""

from csidriver.core.sensitive import Sensitive
from tests.e2e.cluster import until
from tests.e2e.user_namespace import CLIENT, UserNamespace, inject, pod, secret, volume
from tests.issuer.issuer import ScriptedIssuer


def test_a_pod_waits_for_a_secret_that_comes_later(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    user.apply(
        pod("by-annotation", inject("late", 0)),
        pod("by-hand", volumes=[volume("late", owner="0")]),
    )
    until("kubelet has tried", lambda: user.mount_failures("by-hand"))
    assert user.get("pod", "by-hand")["status"]["phase"] == "Pending"
    user.apply(secret("late", issuer.seed(CLIENT)))
    for name, path in (("by-annotation", "/tmp/oauthtk_0"), ("by-hand", "/token/token")):
        user.wait_until_running(name)
        assert issuer.verify(user.file(name, path).content) is not None


def test_a_dead_token_shows_on_the_pod(user: UserNamespace) -> None:
    user.apply(
        secret("dead", Sensitive("never-issued")),
        pod("main", volumes=[volume("dead", owner="0")]),
    )
    user.wait_for_status("dead", "NeedsReauth")
    text = until(
        "the pod says so",
        lambda: [text for text in user.mount_failures("main") if "NeedsReauth" in text],
    )[0]
    assert "code = FailedPrecondition" in text
    assert "never-issued" not in text
