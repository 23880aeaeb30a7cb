"""The chart: its values and their schema, and what helm makes of them where helm is."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from csidriver import __version__
from csidriver.core.names import BROKER, BROKER_CA, CERTIFICATE, NODE
from csidriver.core.oauth.issuers import CLIENT_AUTH, KEYS
from tests.cluster.installation import INSTALL, Manifest
from tests.deploy.rendering import named, of_kind, pod_of, rendered, settings_of
from tests.deploy.test_manifests import key_of
from tools.manifests import CHART, RENDERED, Refused, difference, render, run
from tools.programs import program

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
ALERTS = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"][0]["rules"]
DOCS = INSTALL.parents[1] / "docs"
METRIC = re.compile(r"oauth2_csi_[a-z_]+")

helm = pytest.mark.tools("helm")


def closed_objects(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the schema whose properties are named, and not only to refuse them."""
    if isinstance(schema, dict):
        if "type" in schema and any(schema.get("properties", {}).values()):
            yield where, schema
        for key, inner in schema.items():
            yield from closed_objects(inner, f"{where}/{key}")
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from closed_objects(inner, f"{where}/{number}")


def test_no_object_of_the_schema_takes_a_key_it_does_not_know() -> None:
    objects = dict(closed_objects(SCHEMA, ""))
    assert len(objects) > 15
    assert [where for where, found in objects.items() if found["additionalProperties"]] == []


def test_an_issuer_in_the_values_has_the_keys_the_refresher_reads() -> None:
    issuer = SCHEMA["definitions"]["issuer"]["properties"]
    assert set(issuer) == set(KEYS.values())
    assert issuer["clientAuth"]["enum"] == ["", *CLIENT_AUTH]


def test_chart_and_package_have_one_release_and_license_and_the_chart_names_nobody() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    project = tomllib.loads((INSTALL.parents[1] / "pyproject.toml").read_text())["project"]
    assert chart["annotations"]["artifacthub.io/license"] == project["license"]
    assert not {"home", "sources", "icon", "maintainers"} & set(chart)


def test_alerts_and_dashboard_use_metrics_that_are_documented() -> None:
    board = json.loads((CHART / "files/dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = set(METRIC.findall("\n".join([*queries, *(alert["expr"] for alert in ALERTS)])))
    assert len(used) > 15
    documented = set(METRIC.findall((DOCS / "reference.md").read_text()))
    # The table has `name_bucket`, `_sum`, `_count` in one row.
    assert used - documented == set()


def test_every_alert_is_explained() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    rows = set(re.findall(r"^\| `(OAuth2\w+)` \|", page, flags=re.MULTILINE))
    assert rows == {alert["alert"] for alert in ALERTS}


@helm
def test_the_chart_passes_lint_and_renders_what_is_rendered() -> None:
    run(program("helm"), "lint", "--strict", str(CHART))
    for name in RENDERED:
        assert difference(INSTALL.parent / name, render(program("helm"), name)) == []


@helm
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("node.kubletDir=/x", "kubletDir"),
        ("node.tmpfsSize=1Gi", "node.resources.limits.memory: 384Mi is less than"),
        ("node.limits.secretsPerNode=4000", "and 474Mi for the process with what node.limits"),
        ("node.resources.limits.memory=64M", "node.resources.limits.memory: 64M is not written in"),
        ("tokensNamespace.name=oauth2-csi", "tokensNamespace.name: oauth2-csi is the release's"),
        ("issuerCAs.configMapName=a,issuerCAs.secretName=b", "/issuerCAs"),
        (
            "issuers[0].name=x,issuers[0].issuer=y,issuers[0].clients[0].clientID=c",
            "namespaces",
        ),
        ("webhook.failurePolicy=Ignore", "failurePolicy"),
        ("node.kubeletDir=" + "/x" * 32, "node.kubeletDir: the plugin's socket"),
        ("refresher.namespaces={oauth2-csi-tokens}", "refresher.namespaces: oauth2-csi-tokens is"),
        ("node.extraArgs={publish}", "/node/extraArgs/0"),
        ("webhook.port=9810", "webhook.port: 9810 is webhook.metricsPort"),
        ("broker.certManager.enabled=true", "broker.certManager.issuerRef: name an issuer"),
        ("podMonitor.enabled=true", "podMonitor.enabled: nobody may read metrics"),
        ("webhook.hostNetwork=true,webhook.healthPort=10250", "with webhook.hostNetwork 10250 is"),
        ("webhook.hostNetwork=true,openshift.enabled=true", "webhook.hostNetwork: openshift"),
        (r"labels.app\.kubernetes\.io/name=x", "/labels"),
        ("image.digest=latest", "/image/digest"),
    ],
)
def test_a_value_that_is_wrong_is_refused_by_name(value: str, told: str) -> None:
    with pytest.raises(Refused, match=re.escape(told)):
        rendered(value)


@helm
def test_enrolled_namespaces_are_the_only_ones_with_rights_and_with_a_webhook() -> None:
    found = rendered("refresher.namespaces={alice,bob}")
    roles = {"oauth2-csi-refresher", "oauth2-csi-broker", "oauth2-csi-node"}
    bound = {b["metadata"]["name"] for b in of_kind(found, "ClusterRoleBinding")}
    assert not bound & roles
    for name in roles:
        where = {
            b["metadata"]["namespace"]
            for b in of_kind(found, "RoleBinding")
            if b["roleRef"] == {**b["roleRef"], "kind": "ClusterRole", "name": name}
        }
        assert where == {"alice", "bob"}
    for role in ("refresher", "broker"):
        assert settings_of(found, role)[0].namespace == ["alice", "bob"]
    (hook,) = of_kind(found, "MutatingWebhookConfiguration")[0]["webhooks"]
    assert {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["alice", "bob"]} in (
        hook["namespaceSelector"]["matchExpressions"]
    )


@helm
def test_the_namespace_selector_of_the_webhook_is_extended() -> None:
    found = rendered(
        "webhook.namespaceSelector.matchLabels.tokens=here",
        "webhook.namespaceSelector.matchExpressions[0].key=old,"
        "webhook.namespaceSelector.matchExpressions[0].operator=DoesNotExist",
    )
    (hook,) = of_kind(found, "MutatingWebhookConfiguration")[0]["webhooks"]
    selector = hook["namespaceSelector"]
    assert selector["matchLabels"] == {"tokens": "here"}
    assert [e["operator"] for e in selector["matchExpressions"]] == ["NotIn", "DoesNotExist"]


@helm
def test_cert_manager_brings_the_certificate_and_takes_the_rights() -> None:
    found = rendered("webhook.certManager.enabled=true")
    configuration = named(found, "MutatingWebhookConfiguration", "oauth2-csi-webhook")
    certificate = named(found, "Certificate", "oauth2-csi-webhook")
    assert configuration["metadata"]["annotations"] == {
        "cert-manager.io/inject-ca-from": "oauth2-csi/oauth2-csi-webhook"
    }
    assert certificate["spec"]["issuerRef"] == {"kind": "Issuer", "name": "oauth2-csi-webhook"}
    assert certificate["spec"]["dnsNames"] == ["oauth2-csi-webhook.oauth2-csi.svc"]
    assert named(found, "Issuer", "oauth2-csi-webhook")
    assert not [
        b
        for b in of_kind(found, "RoleBinding", "ClusterRoleBinding")
        if b["subjects"][0]["name"] == "oauth2-csi-webhook"
    ]
    pod = pod_of(found, "webhook")
    assert pod["automountServiceAccountToken"] is False
    assert_serves(pod, certificate)


def assert_serves(pod: dict[str, Any], certificate: Manifest) -> None:
    (secret,) = [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v]
    assert secret == certificate["spec"]["secretName"]
    (container,) = pod["containers"]
    (folder,) = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "tls"]
    assert {f"--tls-cert-file={folder}/tls.crt", f"--tls-key-file={folder}/tls.key"} <= set(
        container["args"]
    )


ISSUED = ("broker.certManager.enabled=true", "broker.certManager.issuerRef.name=ours")


@helm
def test_cert_manager_brings_the_brokers_certificate_and_somebody_else_its_authority() -> None:
    found = rendered(*ISSUED)
    certificate = named(found, "Certificate", "oauth2-csi-broker")
    assert certificate["spec"]["issuerRef"] == {"name": "ours"}
    assert certificate["spec"]["dnsNames"] == ["oauth2-csi-broker.oauth2-csi.svc"]
    assert_serves(pod_of(found, "broker"), certificate)
    assert BROKER_CA not in {m["metadata"]["name"] for m in of_kind(found, "ConfigMap")}
    (role,) = [m for m in of_kind(found, "Role") if key_of(m)[1:] == ("oauth2-csi", BROKER)]
    assert [rule["resources"] for rule in role["rules"]] == [["pods"]]


@helm
@pytest.mark.parametrize("webhook", ["enabled=false", "certManager.enabled=true"])
def test_the_secret_of_certificates_is_there_for_whom_it_serves(webhook: str) -> None:
    assert named(rendered(f"webhook.{webhook}"), "Secret", CERTIFICATE)
    assert named(rendered(*ISSUED), "Secret", CERTIFICATE)
    assert not of_kind(rendered(f"webhook.{webhook}", *ISSUED), "Secret")


@helm
def test_the_rights_of_nodes_go_with_the_value_that_keeps_them() -> None:
    def of_node(*sets: str) -> list[str]:
        kinds = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
        return sorted(
            manifest["kind"]
            for manifest in of_kind(rendered(*sets), *kinds)
            if NODE in {s["name"] for s in manifest.get("subjects", [])}
            or manifest["metadata"]["name"] == NODE
        )

    assert of_node() == ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
    assert of_node("node.legacyRights=false") == []
    assert of_node("node.legacyRights=false", "refresher.namespaces={alice}") == []


@helm
def test_policies_are_there_for_the_roles_that_write_unless_they_are_left_out() -> None:
    def policies(*sets: str) -> set[str]:
        kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
        return {manifest["metadata"]["name"] for manifest in of_kind(rendered(*sets), *kinds)}

    refresher = {"oauth2-csi-issuers-public", "oauth2-csi-refresher"}
    assert policies("webhook.certManager.enabled=true") == {BROKER_CA, *refresher}
    assert policies(*ISSUED) == {"oauth2-csi-webhook", *refresher}
    assert policies("admissionPolicy.enabled=false") == set()


@helm
def test_without_the_webhook_nothing_of_it_is_there() -> None:
    # But for the Secret that it shares with the broker.
    text = json.dumps(rendered("webhook.enabled=false")).replace(CERTIFICATE, "")
    assert "oauth2-csi-webhook" not in text


@helm
def test_another_kubelet_folder_is_another_one_everywhere() -> None:
    found = rendered("node.kubeletDir=/var/lib/k0s/kubelet")
    text = json.dumps(named(found, "DaemonSet", "oauth2-csi-node"))
    assert "/var/lib/kubelet" not in text
    assert text.count("/var/lib/k0s/kubelet") == 7


@helm
def test_issuers_arrive_as_they_are_given() -> None:
    found = rendered(
        "issuers[0].name=x,issuers[0].issuer=https://auth.example/x,issuers[0].reuse.window=30",
        "issuers[0].login.clientID=cli,issuers[0].login.deviceFlow=true",
        "issuers[0].login.scopes={a,b},issuers[0].login.params.prompt=consent",
    )
    text = named(found, "ConfigMap", "oauth2-csi-issuers")["data"]["issuers.yaml"]
    login = {"clientID": "cli", "deviceFlow": True}
    login |= {"scopes": ["a", "b"], "params": {"prompt": "consent"}}
    issuer = {"name": "x", "issuer": "https://auth.example/x", "reuse": {"window": 30}}
    assert yaml.safe_load(text) == {"issuers": [issuer | {"login": login}]}


@helm
def test_the_refreshers_own_tokens_and_keys_are_where_issuers_look_for_them() -> None:
    pod = pod_of(rendered(), "refresher")
    assert not {"assertions", "keys"} & {volume["name"] for volume in pod["volumes"]}
    entry = "refresher.assertions"
    found = rendered(
        f"{entry}[0].name=a,{entry}[0].audience=api://A",
        f"{entry}[1].name=b,{entry}[1].audience=https://b,{entry}[1].expirationSeconds=600",
        "issuerKeys.secretName=my-keys",
    )
    pod = pod_of(found, "refresher")
    (own,) = [volume for volume in pod["volumes"] if volume["name"] == "assertions"]
    assert [source["serviceAccountToken"] for source in own["projected"]["sources"]] == [
        {"path": "a/token", "audience": "api://A", "expirationSeconds": 3600},
        {"path": "b/token", "audience": "https://b", "expirationSeconds": 600},
    ]
    assert {"name": "keys", "secret": {"secretName": "my-keys"}} in pod["volumes"]
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    places = {"/var/run/secrets/oauth2-csi": "assertions", "/etc/oauth2-csi/keys": "keys"}
    for path, name in places.items():
        assert mounts[path] == {"name": name, "mountPath": path, "readOnly": True}


@helm
def test_extras_are_off_until_they_are_wanted() -> None:
    extras = ["podMonitor", "prometheusRule", "grafanaDashboard", "openshift", "criticalPodsQuota"]
    usual = {(m["kind"], m["metadata"]["name"]) for m in rendered()}
    wanted = [f"{extra}.enabled=true" for extra in extras]
    found = rendered(*wanted, "networkPolicy.metricsFrom[0].podSelector.matchLabels.a=b")
    more = {(m["kind"], m["metadata"]["name"]) for m in found} - usual
    assert more == {
        ("PodMonitor", "oauth2-csi"),
        ("PrometheusRule", "oauth2-csi"),
        ("ConfigMap", "oauth2-csi-dashboard"),
        ("RoleBinding", "oauth2-csi-node-scc"),
        ("RoleBinding", "oauth2-csi-refresher-scc"),
        ("RoleBinding", "oauth2-csi-broker-scc"),
        ("RoleBinding", "oauth2-csi-webhook-scc"),
        ("ResourceQuota", "oauth2-csi-critical-pods"),
    }


@helm
def test_alerts_and_dashboard_arrive_whole() -> None:
    found = rendered("prometheusRule.enabled=true", "grafanaDashboard.enabled=true")
    assert named(found, "PrometheusRule", "oauth2-csi")["spec"]["groups"][0]["rules"] == ALERTS
    (board,) = named(found, "ConfigMap", "oauth2-csi-dashboard")["data"].values()
    assert json.loads(board) == json.loads((CHART / "files/dashboard.json").read_text())


def ingress_of(*sets: str) -> dict[str, list[tuple[int, Any]]]:
    """For each role the ports that a NetworkPolicy opens, and to whom."""
    return {
        policy["metadata"]["name"].removeprefix("oauth2-csi-"): [
            (port["port"], rule.get("from"))
            for rule in policy["spec"].get("ingress", [])
            for port in rule["ports"]
        ]
        for policy in of_kind(rendered(*sets), "NetworkPolicy")
        if "Ingress" in policy["spec"]["policyTypes"]
    }


@helm
def test_nobody_reads_metrics_until_he_is_named_and_health_has_no_rule() -> None:
    reviews, streams = (9443, None), (9444, [peer(NODE)])
    usual = {"node": [], "refresher": [], "broker": [streams], "webhook": [reviews]}
    assert ingress_of() == usual
    named_one = "networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus"
    peers = [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
    assert ingress_of(named_one) == {
        "node": [(9808, peers)],
        "refresher": [(9809, peers)],
        "broker": [(9811, peers), streams],
        "webhook": [(9810, peers), reviews],
    }


def peer(name: str) -> dict[str, Any]:
    """The pods of a workload, as a NetworkPolicy names them."""
    role = name.removeprefix("oauth2-csi-")
    labels = {"app.kubernetes.io/name": "oauth2-csi", "app.kubernetes.io/component": role}
    return {"podSelector": {"matchLabels": labels}}


@helm
@pytest.mark.parametrize("legacy", [True, False])
def test_egress_is_limited_where_it_is_wanted(*, legacy: bool) -> None:
    found = rendered(
        "networkPolicy.egress.enabled=true",
        "networkPolicy.egress.issuerPorts={8443}",
        "networkPolicy.egress.dnsPorts={53,5353}",
        f"node.legacyRights={str(legacy).lower()}",
    )
    ports = {
        policy["metadata"]["name"]: [
            ([port["port"] for port in rule["ports"]], rule.get("to"))
            for rule in policy["spec"]["egress"]
        ]
        for policy in of_kind(found, "NetworkPolicy")
    }
    api_server, dns = ([443, 6443], None), ([53, 53, 5353, 5353], None)
    assert ports == {
        NODE: [([9444], [peer(BROKER)]), *([api_server] if legacy else []), dns],
        BROKER: [api_server],
        "oauth2-csi-webhook": [api_server],
        "oauth2-csi-refresher": [api_server, dns, ([8443], None)],
    }
