"""Sign-ins that end, and Secrets that are put back to what they were."""

from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import StrictIssuer
from tests.e2e.cluster import until
from tests.e2e.user_namespace import CLIENT, Tenant, inject, pod, secret

PATH = "/tmp/oauthtk_0"


def restarts(tenant: Tenant, name: str) -> int:
    return sum(c["restartCount"] for c in tenant.get("pod", name)["status"]["containerStatuses"])


def test_a_revoked_sign_in_is_replaced_under_the_running_pod(
    tenant: Tenant, issuer: StrictIssuer
) -> None:
    seed = issuer.seed(CLIENT)
    tenant.apply(secret("mine", seed), pod("main", inject("mine", 0)))
    tenant.running("main")
    issuer.revoke(seed)
    tenant.becomes("mine", "NeedsReauth")
    kept = tenant.file("main", PATH)
    claims = issuer.verify(kept.content)
    assert claims is not None, "the pod keeps what it has"
    tenant.apply(secret("mine", issuer.seed(CLIENT)))
    tenant.becomes("mine", "Ready")
    now = tenant.changed("main", PATH, kept)
    assert issuer.verify(now.content) is not None
    assert now.inode == kept.inode
    assert restarts(tenant, "main") == 0


def test_the_original_manifest_applied_again_costs_nothing(
    tenant: Tenant, issuer: StrictIssuer
) -> None:
    original = secret("mine", issuer.seed(CLIENT))
    tenant.apply(original, pod("main", inject("mine", 0)))
    tenant.running("main")
    tenant.next_token("mine")
    before = tenant.file("main", PATH)
    tenant.apply(original)
    until("the Secret is repaired", lambda: tenant.access_token("mine") != "eyJhb...")
    tenant.becomes("mine", "Ready")
    tenant.next_token("mine")
    assert issuer.verify(tenant.changed("main", PATH, before).content) is not None
    assert issuer.max_presentations() == 1


def test_a_secret_put_right_brings_its_pod_up(tenant: Tenant, issuer: StrictIssuer) -> None:
    tenant.apply(secret("mine", Sensitive("never-issued-either")), pod("main", inject("mine", 0)))
    tenant.becomes("mine", "NeedsReauth")
    tenant.apply(secret("mine", issuer.seed(CLIENT)))
    tenant.running("main", seconds=150)
    assert issuer.verify(tenant.file("main", PATH).content) is not None
