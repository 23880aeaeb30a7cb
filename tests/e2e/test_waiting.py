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


def test_without_a_token_one_text_asks_for_all_that_may_be_missing(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    user.apply(
        secret("unmarked", issuer.seed(CLIENT), annotated=False),
        pod("unmarked", volumes=[volume("unmarked", owner="0")]),
        pod("missing", volumes=[volume("missing", owner="0")]),
    )
    texts = set()
    for name in ("unmarked", "missing"):
        (text, *_) = until("kubelet says why", lambda name=name: user.mount_failures(name))  # type: ignore[misc]
        assert "code = Unavailable" in text
        assert f"{user.name}/{name}" in text
        for question in ("does the Secret exist", "annotated", "refresher"):
            assert question in text
        text = text.replace(f"login {name} -n", "login NAME -n")
        texts.add(text.replace(f"{user.name}/{name}", "NAMESPACE/NAME"))
    assert len(texts) == 1, "nothing tells a Secret without annotation from one that is not there"


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
