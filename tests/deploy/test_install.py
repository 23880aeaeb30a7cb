"""The processes that `kubectl apply -f deploy/install.yaml` starts; no cluster, no helm."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from csidriver import cli, flag_values, flags, server_flags
from csidriver.core.names import BROKER, BROKER_AUDIENCE, BROKER_CA
from csidriver.core.oauth.issuers import Issuers
from csidriver.demo.issuer import LOGIN_CLIENT
from csidriver.node.companions.broker_client import ClientPauses
from tests import page_commands
from tests.cluster.installation import INSTALL, Manifest, manifests

DEPLOY = INSTALL.parent
FILES = ("install.yaml", "cleanup.yaml", "demo-issuer.yaml")
WORKLOADS = ("DaemonSet", "Deployment")
NODE, REFRESHER, WEBHOOK = "oauth2-csi-node", "oauth2-csi-refresher", "oauth2-csi-webhook"
ROLES = (NODE, REFRESHER, BROKER, WEBHOOK)
KUBELET = "/var/lib/kubelet"
MEBIBYTE = 1 << 20


def workloads(*files: str) -> Iterator[Manifest]:
    for name in files or FILES:
        yield from manifests(*WORKLOADS, path=DEPLOY / name)


def pod_of(name: str, file: str = "install.yaml") -> dict[str, Any]:
    (spec,) = [
        workload["spec"]["template"]["spec"]
        for workload in workloads(file)
        if workload["metadata"]["name"] == name
    ]
    assert isinstance(spec, dict)
    return spec


def container_of(name: str, file: str = "install.yaml") -> dict[str, Any]:
    """The only container of a workload."""
    (container,) = pod_of(name, file)["containers"]
    assert isinstance(container, dict)
    return container


def containers(*files: str) -> list[dict[str, Any]]:
    pods = [workload["spec"]["template"]["spec"] for workload in workloads(*files)]
    return [c for pod in pods for c in [*pod.get("initContainers", []), *pod["containers"]]]


def commands() -> list[dict[str, Any]]:
    """Those that run a subcommand of ours."""
    return [container for container in containers() if "command" not in container]


def flags_of(container: dict[str, Any]) -> argparse.Namespace:
    """Its arguments, as the command itself reads them."""
    return cli._parser().parse_args(cli._joined(container["args"]))


def port_of(container: dict[str, Any], name: str) -> int:
    (port,) = [port["containerPort"] for port in container["ports"] if port["name"] == name]
    assert isinstance(port, int)
    return port


@pytest.mark.parametrize("container", commands(), ids=lambda container: container["name"])
def test_the_command_knows_every_argument(container: dict[str, Any]) -> None:
    assert flags_of(container).run
    # argparse takes beginnings of names, too; another release may have two that fit.
    given = [argument.partition("=")[0] for argument in container["args"]]
    actions = cli._parser()._actions
    (commands,) = [a for a in actions if isinstance(a, argparse._SubParsersAction)]
    known = set(commands.choices[cli._joined(container["args"])[0]]._option_string_actions)
    assert {flag for flag in given if flag.startswith("--")} <= known


@pytest.mark.parametrize("name", ROLES)
def test_a_pod_is_one_container(name: str) -> None:
    pod = pod_of(name)
    assert len(pod["containers"]) == 1
    assert "initContainers" not in pod


def test_namespaces_come_first_and_then_the_webhook_configuration() -> None:
    """Pods that are applied together with it must not slip past it."""
    kinds = [manifest["kind"] for manifest in manifests()]
    assert kinds[:3] == ["Namespace", "Namespace", "MutatingWebhookConfiguration"]
    assert "Namespace" not in kinds[3:]


def test_the_node_plugin_is_replaced_before_another_one_starts() -> None:
    (daemon_set,) = manifests("DaemonSet")
    strategy = daemon_set["spec"]["updateStrategy"]
    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"]["maxSurge"] == 0


@pytest.mark.parametrize(
    ("labels", "runs"),
    [
        ({}, True),
        ({"type": "worker", "eks.amazonaws.com/compute-type": "ec2"}, True),
        ({"eks.amazonaws.com/compute-type": "fargate"}, False),
        ({"type": "virtual-kubelet"}, False),
    ],
    ids=["any", "labelled", "fargate", "virtual"],
)
@pytest.mark.parametrize("file", ["install.yaml", "cleanup.yaml"])
def test_the_node_plugin_runs_on_every_linux_node_that_is_one(
    file: str, labels: dict[str, str], *, runs: bool
) -> None:
    pod = pod_of(NODE, file)
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["priorityClassName"] == "system-node-critical"
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    expressions = term["matchExpressions"]
    assert {expression["operator"] for expression in expressions} == {"NotIn"}
    # As Kubernetes has it, an absent label is in no list.
    assert runs == all(labels.get(e["key"]) not in e["values"] for e in expressions)


def test_the_node_plugin_sees_kubelets_folders_at_their_own_paths() -> None:
    container, pod = container_of(NODE), pod_of(NODE)
    configured = flags.node_settings(flags_of(container))
    assert str(configured.kubelet_dir) == KUBELET
    host = {v["name"]: v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v}
    mounts = {m["name"]: m for m in container["volumeMounts"]}
    for name, path in host.items():
        assert mounts[name]["mountPath"] == path
    assert {mounts[name]["mountPath"]: mounts[name]["mountPropagation"] for name in host} == {
        str(configured.plugin_dir): "Bidirectional",
        f"{KUBELET}/pods": "Bidirectional",
        str(configured.registration_socket.parent): "HostToContainer",
    }


def test_the_node_plugin_has_memory_for_its_tokens_and_no_cpu_limit() -> None:
    resources = container_of(NODE)["resources"]
    assert set(resources["limits"]) == {"memory"}
    tmpfs = flags.node_settings(flags_of(container_of(NODE))).size
    # The process takes 52 to 60 MiB (docs/evidence/performance.md).
    assert flag_values.size(resources["limits"]["memory"]) >= tmpfs + 60 * MEBIBYTE + 32 * MEBIBYTE
    assert flag_values.size(resources["requests"]["memory"]) >= 60 * MEBIBYTE


def test_only_the_node_plugin_is_privileged_and_no_pod_shares_a_namespace_of_the_host() -> None:
    for workload in workloads():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(workload["spec"]["template"]["spec"])
    for container in containers():
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        if security.get("privileged"):
            assert container["name"] in {"node", "cleanup"}
            continue
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        *((name, "install.yaml") for name in (REFRESHER, BROKER, WEBHOOK)),
        ("demo-issuer", "demo-issuer.yaml"),
    ],
)
def test_the_others_run_as_a_user_that_is_not_root(name: str, file: str) -> None:
    security = pod_of(name, file)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("name", ROLES)
def test_probes_and_metrics_are_on_the_ports_that_are_served(name: str) -> None:
    container = container_of(name)
    served = flags.common_settings(flags_of(container))
    assert served.listen == ("::", port_of(container, "metrics"))
    assert served.health_listen == ("::", port_of(container, "health"))
    pages = {
        probe: container[probe]["httpGet"]
        for probe in ("livenessProbe", "readinessProbe", "startupProbe")
    }
    assert {page["port"] for page in pages.values()} == {"health"}
    assert {probe: page["path"] for probe, page in pages.items()} == {
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
        "startupProbe": "/healthz",
    }


@pytest.mark.parametrize("name", ROLES)
def test_every_pod_runs_as_its_own_account(name: str) -> None:
    pod = pod_of(name)
    assert pod["serviceAccountName"] == name
    # The node plugin has a token for brokers and none for the API.
    assert pod["automountServiceAccountToken"] is (name != NODE)
    accounts = {account["metadata"]["name"]: account for account in manifests("ServiceAccount")}
    assert accounts[name]["automountServiceAccountToken"] is False


def test_the_refresher_reads_both_config_maps_of_issuers_one_of_which_may_be_absent() -> None:
    container, pod = container_of(REFRESHER), pod_of(REFRESHER)
    volumes = {v["name"]: v["configMap"] for v in pod["volumes"] if "configMap" in v}
    mounts = {m["mountPath"]: volumes.get(m["name"]) for m in container["volumeMounts"]}
    assert [
        mounts[str(path)] for path in flags.refresher_settings(flags_of(container)).issuers
    ] == [
        {"name": "oauth2-csi-issuers"},
        {"name": "oauth2-csi-issuers-extra", "optional": True},
    ]


def test_the_spool_is_memory_that_outlives_the_process() -> None:
    container, pod = container_of(REFRESHER), pod_of(REFRESHER)
    spool = flags.refresher_settings(flags_of(container)).spool_dir
    (mount,) = [m for m in container["volumeMounts"] if Path(m["mountPath"]) in spool.parents]
    (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    assert volume["emptyDir"]["medium"] == "Memory"
    size = flag_values.size(volume["emptyDir"]["sizeLimit"])
    # 10,000 tokens take 205 MiB (docs/evidence/performance.md).
    assert flag_values.size(container["resources"]["limits"]["memory"]) >= size + 205 * MEBIBYTE


@pytest.mark.parametrize("name", ROLES[1:])
def test_one_replica_goes_on_through_rollouts_and_drains(name: str) -> None:
    (deployment,) = [d for d in manifests("Deployment") if d["metadata"]["name"] == name]
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (budget,) = [
        b["spec"] for b in manifests("PodDisruptionBudget") if b["metadata"]["name"] == name
    ]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["spec"]["selector"]
    (term,) = pod_of(name)["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["podAffinityTerm"]["labelSelector"] == deployment["spec"]["selector"]


def test_nodes_have_come_back_to_a_new_broker_before_a_rollout_stops_the_next_one() -> None:
    (deployment,) = [d for d in manifests("Deployment") if d["metadata"]["name"] == BROKER]
    assert deployment["spec"]["minReadySeconds"] >= max(ClientPauses().rejoin)


def service_of(name: str) -> Manifest:
    (service,) = [each for each in manifests("Service") if each["metadata"]["name"] == name]
    return service


def test_nodes_find_every_broker_and_verify_it() -> None:
    service = service_of(BROKER)
    (port,) = service["spec"]["ports"]
    assert service["spec"]["clusterIP"] == "None"
    assert not service["spec"].get("publishNotReadyAddresses")
    host, node_port = flags.broker_of_node(flags_of(container_of(NODE)))
    container = container_of(BROKER)
    served = server_flags.broker_settings(flags_of(container))
    assert served.names == {host}
    assert host == f"{BROKER}.{service['metadata']['namespace']}.svc"
    # Of a headless Service the port is that of the pods.
    assert served.listen == ("::", node_port)
    assert port_of(container, port["targetPort"]) == port["port"] == node_port
    account = f"{service['metadata']['namespace']}:{pod_of(NODE)['serviceAccountName']}"
    assert served.account == account
    # Only in the pod's own network do its DNS settings fit without a further one.
    assert not {"dnsPolicy", "hostNetwork"} & set(pod_of(NODE))


def test_the_node_plugin_has_a_token_for_brokers_and_their_authorities_and_nothing_else() -> None:
    container, pod = container_of(NODE), pod_of(NODE)
    token = flags_of(container).broker_token
    (volume,) = [volume for volume in pod["volumes"] if "projected" in volume]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == volume["name"]]
    assert mount == {"name": "broker", "mountPath": str(token.parent), "readOnly": True}
    assert volume["projected"]["sources"] == [
        {
            "serviceAccountToken": {
                "audience": BROKER_AUDIENCE,
                "expirationSeconds": 3600,
                "path": token.name,
            }
        },
        {
            "configMap": {
                "name": BROKER_CA,
                "optional": True,
                "items": [{"key": "ca.crt", "path": flags_of(container).broker_ca.name}],
            }
        },
    ]
    assert not [volume for volume in pod["volumes"] if {"secret", "configMap"} & set(volume)]


def test_network_policies_let_in_reviews_and_node_plugins_and_nothing_else() -> None:
    assert {p["metadata"]["name"] for p in manifests("NetworkPolicy")} == set(ROLES)
    for policy in manifests("NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        rules = policy["spec"].get("ingress", [])
        name = policy["metadata"]["name"]
        assert [port["port"] for rule in rules for port in rule["ports"]] == (
            [port_of(container_of(name), name.rpartition("-")[2])]
            if name in {BROKER, WEBHOOK}
            else []
        )
        if name == BROKER:
            (peer,) = rules[0]["from"]
            (nodes,) = [d["spec"]["selector"] for d in manifests("DaemonSet")]
            assert peer == {"podSelector": nodes}


def test_the_demo_issuer_is_called_what_its_service_and_its_config_map_call_it() -> None:
    path = DEPLOY / "demo-issuer.yaml"
    (service,) = manifests("Service", path=path)
    (config_map,) = manifests("ConfigMap", path=path)
    args = flags_of(container_of("demo-issuer", "demo-issuer.yaml"))
    metadata, (port,) = service["metadata"], service["spec"]["ports"]
    proxy = f"http://{metadata['name']}.{metadata['namespace']}.svc:{port['port']}"
    assert args.listen[1] == port_of(container_of("demo-issuer", "demo-issuer.yaml"), "http")
    assert config_map["metadata"]["name"] == "oauth2-csi-issuers-extra"
    assert config_map["metadata"]["namespace"] == "oauth2-csi"
    (text,) = config_map["data"].values()
    (issuer,) = Issuers.parse([("demo", yaml.safe_load(text))]).by_name.values()
    assert (issuer.proxy, issuer.default, issuer.internal) == (proxy, True, True)
    assert issuer.issuer == args.issuer
    assert issuer.login is not None
    assert issuer.login.client_id == LOGIN_CLIENT.client_id
    # The address in the user's browser is where the tutorial forwards the service's port to.
    forward = (
        f"kubectl -n {metadata['namespace']} port-forward service/{metadata['name']} "
        f"{urlsplit(issuer.issuer).port}:{port['port']}"
    )
    assert forward in {command.line for command in page_commands.commands("docs/tutorial.md")}


def test_a_cleanup_takes_the_place_of_the_plugin_and_sees_all_of_kubelets_folder() -> None:
    pod = pod_of(NODE, "cleanup.yaml")
    (container,) = pod["initContainers"]
    cleanup, plugin = flags.cleanup_settings(flags_of(container)), flags_of(container_of(NODE))
    assert cleanup.kubelet_dir == plugin.kubelet_dir
    assert cleanup.force is False
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == str(cleanup.kubelet_dir)
    assert mount["mountPropagation"] == "Bidirectional"
    assert pod["automountServiceAccountToken"] is False
