"""Single values of the chart: null, numbers, ports, and what is added to the roles' objects."""

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.rendering import (
    ROLES,
    container_of,
    leaves_and_sections,
    named,
    of_kind,
    parsed,
    pod_of,
    rendered,
    settings_of,
    text_of,
    workload,
)
from tools.manifests import CHART, DEFAULTS, Refused, defaults, run
from tools.programs import program

pytestmark = pytest.mark.tools("helm")
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mon"}}}
# Whatever is off by default, so that every value has something to change.
ALL_ON: dict[str, Any] = {
    "namespace": {"create": True},
    "broker": {"certManager": {"enabled": True, "issuerRef": {"name": "ours"}}},
    "webhook": {"certManager": {"enabled": True}},
    "networkPolicy": {"egress": {"enabled": True}, "metricsFrom": [PROMETHEUS]},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "grafanaDashboard": {"enabled": True},
    "openshift": {"enabled": True},
    "criticalPodsQuota": {"enabled": True},
}
KEYS = list(leaves_and_sections(VALUES))
SELECTED = {"app.kubernetes.io/name", "app.kubernetes.io/component"}
RECOMMENDED = {
    "app.kubernetes.io/name": "oauth2-csi",
    "app.kubernetes.io/instance": "oauth2-csi",
    "app.kubernetes.io/version": "0.1.0",
    "app.kubernetes.io/managed-by": "Helm",
    "helm.sh/chart": "oauth2-csi-0.1.0",
}


def merged(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in other.items():
        mine = result.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            result[key] = merged(mine, value)
        else:
            result[key] = value
    return result


def changed(values: Mapping[str, Any], key: tuple[str, ...], new: Any) -> dict[str, Any]:
    result = copy.deepcopy(dict(values))
    inner = result
    for name in key[:-1]:
        inner = inner[name]
    inner[key[-1]] = new
    return result


def value_of(key: tuple[str, ...]) -> Any:
    found = VALUES
    for name in key:
        found = found[name]
    return found


@pytest.mark.parametrize("policies", [False, True], ids=["all but policies", "policies"])
def test_null_means_the_default(*, policies: bool) -> None:
    everything = merged(VALUES, ALL_ON)
    if policies:  # by default nobody may read metrics, so no monitor is rendered
        everything = merged(everything, {"podMonitor": {"enabled": False}})
    with_null = with_default = everything
    for key in KEYS:
        leaf = not isinstance(value_of(key), dict) and key[-1] != "enabled"
        if leaf and (key[0] == "networkPolicy") == policies:
            with_null = changed(with_null, key, None)
            with_default = changed(with_default, key, value_of(key))
    found = text_of(values=with_null)
    assert found == text_of(values=with_default)
    for role in ROLES:
        settings_of(parsed(found), role)


def test_null_from_the_chart_that_has_this_one_as_a_subchart_means_the_default(
    tmp_path: Path,
) -> None:
    shutil.copytree(CHART, tmp_path / "charts/oauth2-csi")
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: above, version: 1.0.0}")

    def rendered_above(values: Mapping[str, Any]) -> str:
        (tmp_path / "values.yaml").write_text(json.dumps({"oauth2-csi": values}))
        return run(program("helm"), "template", "above", str(tmp_path), "--namespace=oauth2-csi")

    for key in (("node", "resources"), ("refresher", "leaseDuration"), ("webhook",), ("labels",)):
        assert rendered_above(changed(VALUES, key, None)) == rendered_above({}), key


def test_false_and_empty_are_not_null() -> None:
    off = {"enabled": False}
    node = {"tolerations": [], "priorityClassName": ""}
    found = rendered(values={"webhook": off, "networkPolicy": off, "node": node})
    assert not of_kind(found, "MutatingWebhookConfiguration", "NetworkPolicy")
    assert "tolerations" not in pod_of(found, "node")
    assert not pod_of(found, "node")["priorityClassName"]


def test_the_chart_has_a_copy_of_its_defaults() -> None:
    assert DEFAULTS.read_text(encoding="utf-8") == defaults()
    assert yaml.safe_load(defaults()) == VALUES


MILLION = 1_000_000


@pytest.mark.parametrize("key", [key for key in KEYS if type(value_of(key)) is int], ids=".".join)
def test_a_large_integer_is_written_as_one_or_refused_by_name(key: tuple[str, ...]) -> None:
    large = changed(merged(VALUES, ALL_ON), key, 2 * MILLION)
    # The refresher's other times must fit.
    large["refresher"]["takeoverAfter"] = 2 * MILLION
    try:
        text = text_of(values=large)
    except Refused as error:
        named = "/".join(key) in str(error) or "what node.limits allows" in str(error)
        assert named
    else:
        assert "2000000" in text
        assert "e+" not in text


@pytest.mark.parametrize("seconds", [0.001, 0.5, 2.0, 1234567.5, 1_000_000_000])
def test_seconds_are_written_as_the_flags_read_them(seconds: float) -> None:
    found = rendered(values={"node": {"publishWait": seconds}})
    assert settings_of(found, "node")[1].publish_wait == seconds


def test_ports_are_those_of_the_values_wherever_they_are_named() -> None:
    metrics = {"node": 19808, "refresher": 19809, "webhook": 19810, "broker": 19811}
    values = {role: {"metricsPort": port, "healthPort": port + 9} for role, port in metrics.items()}
    own = {"broker": 19444, "webhook": 10250}
    more = {role: {"port": port} for role, port in own.items()}
    watched = {"networkPolicy": {"metricsFrom": [PROMETHEUS]}}
    found = rendered(values=merged(merged(values, more), watched))
    for role, port in metrics.items():
        args, settings = settings_of(found, role)
        ports = {p["name"]: p["containerPort"] for p in container_of(found, role)["ports"]}
        assert args.listen[1] == ports["metrics"] == port
        assert args.health_listen[1] == ports["health"] == port + 9
        if role in own:
            assert settings.listen[1] == ports[role] == own[role]
        policy = named(found, "NetworkPolicy", f"oauth2-csi-{role}")["spec"]
        allowed = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
        assert allowed == set(ports.values()) - {ports["health"]}
    for role, port in (("webhook", 443), ("broker", 19444)):
        (served,) = named(found, "Service", f"oauth2-csi-{role}")["spec"]["ports"]
        assert (served["port"], served["targetPort"]) == (port, role)
    assert settings_of(found, "node")[0].broker[1] == 19444


def test_the_webhook_runs_on_the_network_of_its_node_where_that_is_wanted() -> None:
    found = rendered("webhook.hostNetwork=true", "webhook.port=10260")
    pod = pod_of(found, "webhook")
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    # With as many replicas as nodes the new pod has no place until an old one has gone.
    strategy = workload(found, "webhook")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 1}
    for role in ("node", "refresher", "broker"):
        assert not {"hostNetwork", "dnsPolicy"} & set(pod_of(found, role))
    other = rendered("webhook.hostNetwork=true", "webhook.dnsPolicy=Default")
    assert pod_of(other, "webhook")["dnsPolicy"] == "Default"


def test_all_but_the_plugin_prefer_the_control_plane_and_tolerate_its_taint() -> None:
    found = rendered()
    there = "node-role.kubernetes.io/control-plane"
    for role in ("refresher", "broker", "webhook"):
        pod = pod_of(found, role)
        assert pod["tolerations"] == [{"key": there, "operator": "Exists"}]
        assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
        (preferred,) = pod["affinity"]["nodeAffinity"].values()
        (term,) = preferred[0]["preference"]["matchExpressions"]
        assert term == {"key": there, "operator": "Exists"}
        assert "podAntiAffinity" in pod["affinity"]
    other = rendered(values={"refresher": {"tolerations": [], "nodeSelector": {there: ""}}})
    assert "tolerations" not in pod_of(other, "refresher")
    assert there in pod_of(other, "refresher")["nodeSelector"]


def test_every_object_has_the_recommended_labels_and_those_of_the_values() -> None:
    given = {"example.org/team": "aai"}
    found = rendered(values=merged(ALL_ON, {"labels": given, "refresher": {"namespaces": ["a"]}}))
    assert len({manifest["kind"] for manifest in found}) > 15
    for manifest in found:
        wanted = {**RECOMMENDED, **given}
        assert manifest["metadata"]["labels"].items() >= wanted.items(), manifest
    for role in ROLES:
        template = workload(found, role)["spec"]["template"]
        wanted = {**RECOMMENDED, **given, "app.kubernetes.io/component": role}
        assert template["metadata"]["labels"] == wanted


def test_selectors_look_for_no_label_that_a_release_or_a_value_changes() -> None:
    found = rendered(values={"labels": {"a": "b"}, "node": {"podLabels": {"c": "d"}}})
    selectors = [workload(found, role)["spec"]["selector"]["matchLabels"] for role in ROLES]
    selectors += [m["spec"]["podSelector"]["matchLabels"] for m in of_kind(found, "NetworkPolicy")]
    selectors += [
        m["spec"]["selector"]["matchLabels"] for m in of_kind(found, "PodDisruptionBudget")
    ]
    selectors += [m["spec"]["selector"] for m in of_kind(found, "Service")]
    assert len(selectors) == 13
    assert {frozenset(selector) for selector in selectors} == {frozenset(SELECTED)}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_further_flags_volumes_and_annotations(role: str) -> None:
    volume = {"name": "more", "configMap": {"name": "more"}}
    mount = {"name": "more", "mountPath": "/more", "readOnly": True}
    more = {
        "extraArgs": ["--log-level=debug", "--driver-namespace=a b: c"],
        "extraVolumes": [volume],
        "extraVolumeMounts": [mount],
        "serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"},
    }
    before, found = rendered(), rendered(values={role: more})
    args, _ = settings_of(found, role)
    assert (args.log_level, args.driver_namespace) == ("debug", "a b: c")
    others = pod_of(before, role).get("volumes", [])
    assert pod_of(found, role)["volumes"] == [*others, volume]
    others = container_of(before, role).get("volumeMounts", [])
    assert container_of(found, role)["volumeMounts"] == [*others, mount]
    account = named(found, "ServiceAccount", f"oauth2-csi-{role}")
    assert account["metadata"]["annotations"] == more["serviceAccountAnnotations"]
