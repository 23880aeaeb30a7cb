"""Sign-ins that end, and Secrets that are put back to what they were."""

from csidriver.core.sensitive import Sensitive
from tests.e2e.cluster import until
from tests.e2e.user_namespace import CLIENT, UserNamespace, inject, pod, secret
from tests.issuer.issuer import ScriptedIssuer

PATH = "/tmp/oauthtk_0"


def restarts(user: UserNamespace, name: str) -> int:
    return sum(c["restartCount"] for c in user.get("pod", name)["status"]["containerStatuses"])


def test_a_revoked_sign_in_is_replaced_under_the_running_pod(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    seed = issuer.seed(CLIENT)
    user.apply(secret("mine", seed), pod("main", inject("mine", 0)))
    user.wait_until_running("main")
    issuer.revoke(seed)
    user.wait_for_status("mine", "NeedsReauth")
    kept = user.file("main", PATH)
    claims = issuer.verify(kept.content)
    assert claims is not None, "the pod keeps what it has"
    user.apply(secret("mine", issuer.seed(CLIENT)))
    user.wait_for_status("mine", "Ready")
    now = user.wait_for_change("main", PATH, kept)
    assert issuer.verify(now.content) is not None
    assert now.inode == kept.inode
    assert restarts(user, "main") == 0


def test_the_original_manifest_applied_again_costs_nothing(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    original = secret("mine", issuer.seed(CLIENT))
    user.apply(original, pod("main", inject("mine", 0)))
    user.wait_until_running("main")
    user.wait_for_next_token("mine")
    before = user.file("main", PATH)
    user.apply(original)
    until("the Secret is repaired", lambda: user.access_token("mine") != "eyJhb...")
    user.wait_for_status("mine", "Ready")
    user.wait_for_next_token("mine")
    assert issuer.verify(user.wait_for_change("main", PATH, before).content) is not None
    assert issuer.max_presentations() == 1


def test_a_secret_put_right_brings_its_pod_up(user: UserNamespace, issuer: ScriptedIssuer) -> None:
    user.apply(secret("mine", Sensitive("never-issued-either")), pod("main", inject("mine", 0)))
    user.wait_for_status("mine", "NeedsReauth")
    user.apply(secret("mine", issuer.seed(CLIENT)))
    user.wait_until_running("main", seconds=150)
    assert issuer.verify(user.file("main", PATH).content) is not None
