import pytest

from csidriver.core import annotations, names
from csidriver.core.admission.unserved_pods import MIRROR
from tests.cluster.installation import Manifest, manifests

DRIVER, TOKENS = names.DRIVER_NAMESPACE, names.TOKENS_NAMESPACE
POLICY = "ValidatingAdmissionPolicy"
EVERYBODY = "system:authenticated"
NODE, REFRESHER, WEBHOOK = "oauth2-csi-node", "oauth2-csi-refresher", "oauth2-csi-webhook"
BROKER = "oauth2-csi-broker"

Right = tuple[str, str, str, str, str]


def key_of(manifest: Manifest) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]


def rights_of(account: str | dict[str, str]) -> set[Right]:
    """Return the granted rights: (namespace, "" for all; group; resource; name; verb)."""
    roles = {key_of(role): role for role in manifests("Role", "ClusterRole")}
    subject = account
    if isinstance(account, str):
        subject = {"kind": "ServiceAccount", "name": account, "namespace": DRIVER}
    rights: set[Right] = set()
    for binding in manifests("RoleBinding", "ClusterRoleBinding"):
        assert len(binding["subjects"]) == 1
        if binding["subjects"] != [subject]:
            continue
        where = binding["metadata"].get("namespace", "")
        reference = binding["roleRef"]
        assert reference["apiGroup"] == "rbac.authorization.k8s.io"
        role_namespace = where if reference["kind"] == "Role" else ""
        role = roles[reference["kind"], role_namespace, reference["name"]]
        rights |= {
            (where, group, resource, name, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for name in rule.get("resourceNames", [""])
            for verb in rule["verbs"]
        }
    return rights


def allowed(namespace: str, resource: str, verbs: str, name: str = "") -> set[Right]:
    group, _, plural = resource.rpartition("/")
    return {(namespace, group, plural, name, verb) for verb in verbs.split()}


def test_every_manifest_is_there_once() -> None:
    keys = [key_of(manifest) for manifest in manifests()]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(("namespace", "level"), [(DRIVER, "privileged"), (TOKENS, "restricted")])
def test_a_namespace_enforces_its_pod_security_level(namespace: str, level: str) -> None:
    (labels,) = [
        manifest["metadata"]["labels"]
        for manifest in manifests("Namespace")
        if manifest["metadata"]["name"] == namespace
    ]
    assert labels["pod-security.kubernetes.io/enforce"] == level


def test_the_csi_driver_is_ephemeral_republished_and_told_the_pod() -> None:
    (driver,) = manifests("CSIDriver")
    assert driver["spec"] == {
        "attachRequired": False,
        "podInfoOnMount": True,
        "requiresRepublish": True,
        "fsGroupPolicy": "None",
        "volumeLifecycleModes": ["Ephemeral"],
    }
    labels = driver["metadata"]["labels"]
    assert labels["security.openshift.io/csi-ephemeral-volume-profile"] == "restricted"


_OWN = "get list watch create patch delete"
_LEASES = "coordination.k8s.io/leases"
_CONFIGURATIONS = "admissionregistration.k8s.io/mutatingwebhookconfigurations"
# tests/cluster/test_rights.py asks a real API server whether this is all.
RIGHTS: dict[str, set[Right]] = {
    NODE: allowed(TOKENS, "secrets", "get list watch")
    | allowed("", "configmaps", "get")
    | allowed("", "namespaces", "get"),
    REFRESHER: allowed("", "secrets", "get list watch patch")
    | allowed("", "events", "create patch")
    | allowed("", "namespaces", "get")
    | allowed(DRIVER, "secrets", _OWN)
    | allowed(TOKENS, "secrets", _OWN)
    | allowed(DRIVER, _LEASES, "create")
    | allowed(DRIVER, _LEASES, "get update", REFRESHER)
    | allowed(DRIVER, "events", "create patch")
    | allowed(DRIVER, "configmaps", "get patch", names.PUBLIC_ISSUERS),
    BROKER: allowed(TOKENS, "secrets", "list watch")
    | allowed("", "pods", "get list")
    | allowed("", "configmaps", "get")
    | allowed("", "namespaces", "get")
    | allowed("", "authentication.k8s.io/tokenreviews", "create")
    | allowed(DRIVER, "pods", "get")
    | allowed(DRIVER, "secrets", "get patch", names.CERTIFICATE)
    | allowed(DRIVER, "configmaps", "get patch", names.BROKER_CA),
    WEBHOOK: allowed(DRIVER, "secrets", "get patch", names.CERTIFICATE)
    | allowed("", _CONFIGURATIONS, "get patch", WEBHOOK),
}
# What everybody may read.
PUBLIC = allowed(DRIVER, "configmaps", "get", names.PUBLIC_ISSUERS)


def test_the_node_only_reads_companions_and_templates() -> None:
    assert rights_of(NODE) == RIGHTS[NODE]
    assert {verb for *_, verb in RIGHTS[NODE]} <= {"get", "list", "watch"}


@pytest.mark.parametrize("account", [REFRESHER, BROKER, WEBHOOK])
def test_a_role_has_these_rights(account: str) -> None:
    assert rights_of(account) == RIGHTS[account]


def test_everybody_reads_the_public_issuers() -> None:
    users = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": EVERYBODY}
    assert rights_of(users) == PUBLIC


def test_the_secret_of_the_certificate_comes_without_content() -> None:
    (secret,) = manifests("Secret")
    assert key_of(secret) == ("Secret", DRIVER, names.CERTIFICATE)
    assert set(secret) == {"apiVersion", "kind", "metadata", "type"}
    assert secret["type"] == annotations.CERTIFICATE_SECRET_TYPE


POLICIES = {
    REFRESHER: REFRESHER,
    names.PUBLIC_ISSUERS: REFRESHER,
    names.BROKER_CA: BROKER,
    WEBHOOK: WEBHOOK,
}


def test_policies_judge_the_accounts_that_may_write_and_nobody_else() -> None:
    for name, judged in POLICIES.items():
        (policy,) = [p for p in manifests(POLICY) if p["metadata"]["name"] == name]
        (binding,) = [b for b in manifests(f"{POLICY}Binding") if b["metadata"]["name"] == name]
        assert binding["spec"] == {"policyName": name, "validationActions": ["Deny"]}
        assert policy["spec"]["failurePolicy"] == "Fail"
        (condition,) = policy["spec"]["matchConditions"]
        account = f"system:serviceaccount:{DRIVER}:{judged}"
        assert condition["expression"] == f"request.userInfo.username == '{account}'"
        if name == WEBHOOK:  # whose rights are for one configuration, too
            (first, *_) = policy["spec"]["validations"]
            assert first["expression"] == f"object.metadata.name == '{WEBHOOK}'"


def test_the_refreshers_policy_walks_through_few_entries_only() -> None:
    """Else one Secret of 40,000 keys would take the API server half a minute for each write."""
    (policy,) = [p for p in manifests(POLICY) if p["metadata"]["name"] == REFRESHER]
    expressions = [each["expression"] for each in policy["spec"]["validations"]]
    walks = [expression for expression in expressions if ".all(" in expression]
    assert len(walks) == 2
    for expression in walks:
        assert expression.startswith("!variables.few || ")


def test_every_role_is_bound_and_every_binding_finds_its_role() -> None:
    roles = {key_of(role) for role in manifests("Role", "ClusterRole")}
    bound = {
        (
            binding["roleRef"]["kind"],
            binding["metadata"].get("namespace", ""),
            binding["roleRef"]["name"],
        )
        for binding in manifests("RoleBinding", "ClusterRoleBinding")
    }
    assert roles == bound


def test_no_rule_holds_a_wildcard_or_rights_on_rights() -> None:
    rules = [rule for role in manifests("Role", "ClusterRole") for rule in role["rules"]]
    assert rules
    for rule in rules:
        assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}
        words = {word for values in rule.values() for word in values}
        assert not words & {"*", "rbac.authorization.k8s.io", "bind", "escalate", "impersonate"}
        assert rule.get("resourceNames", ["x"])


def test_the_webhook_is_called_for_annotated_pods_only_and_never_for_our_own() -> None:
    (configuration,) = manifests("MutatingWebhookConfiguration")
    assert configuration["metadata"]["name"] == WEBHOOK
    assert "annotations" not in configuration["metadata"]
    (webhook,) = configuration["webhooks"]
    annotated, no_mirror = [each["expression"] for each in webhook["matchConditions"]]
    assert annotated == (
        f"has(object.metadata.annotations) && '{annotations.TO_INJECT}' in "
        "object.metadata.annotations"
    )
    assert no_mirror == f"!('{MIRROR}' in object.metadata.annotations)"
    assert webhook["namespaceSelector"]["matchExpressions"] == [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [DRIVER, TOKENS]}
    ]
    (rule,) = webhook["rules"]
    assert (rule["resources"], rule["operations"]) == (["pods"], ["CREATE"])


def test_the_webhook_fails_closed_is_reinvoked_and_has_no_side_effects() -> None:
    (webhook,) = manifests("MutatingWebhookConfiguration")[0]["webhooks"]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["reinvocationPolicy"] == "IfNeeded"
    assert webhook["sideEffects"] == "None"
    assert webhook["admissionReviewVersions"] == ["v1"]
    assert 1 <= webhook["timeoutSeconds"] <= 30
