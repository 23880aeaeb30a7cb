"""The processes that `kubectl apply -f deploy/install.yaml` starts; no cluster, no helm."""

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from csidriver import cli, flag_values, flags
from csidriver.core.names import BROKER_AUDIENCE, BROKER_CA
from csidriver.core.oauth.issuers import Issuers
from csidriver.demo.issuer import LOGIN_CLIENT
from csidriver.node.companions.broker_client import ClientPauses
from tests import page_commands
from tests.cluster.installation import INSTALL, Manifest, manifests
from tests.deploy.rendering import (
    ROLES,
    WORKLOADS,
    container_of,
    flags_of,
    named,
    pod_of,
    settings_of,
    workload,
)

INSTALLED = manifests()
CLEANUP, DEMO = (
    manifests(path=INSTALL.parent / f"{name}.yaml") for name in ("cleanup", "demo-issuer")
)
PODS = [
    each["spec"]["template"]["spec"]
    for each in (*INSTALLED, *CLEANUP, *DEMO)
    if each["kind"] in WORKLOADS
]
CONTAINERS = [c for pod in PODS for c in (*pod.get("initContainers", ()), *pod["containers"])]
KUBELET = "/var/lib/kubelet"
MEBIBYTE = 1 << 20


def port_of(container: dict[str, Any], name: str) -> int:
    (port,) = [port["containerPort"] for port in container["ports"] if port["name"] == name]
    assert isinstance(port, int)
    return port


@pytest.mark.parametrize(
    "container", [c for c in CONTAINERS if "command" not in c], ids=lambda found: found["name"]
)
def test_the_command_knows_every_argument(container: dict[str, Any]) -> None:
    assert flags_of(container).run
    # argparse takes beginnings of names, too; another release may have two that fit.
    given = [argument.partition("=")[0] for argument in container["args"]]
    actions = cli._parser()._actions
    (commands,) = [a for a in actions if isinstance(a, argparse._SubParsersAction)]
    known = set(commands.choices[cli._joined(container["args"])[0]]._option_string_actions)
    assert {flag for flag in given if flag.startswith("--")} <= known


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_is_one_container_that_runs_as_its_own_account(role: str) -> None:
    pod, account = pod_of(INSTALLED, role), f"oauth2-csi-{role}"
    assert len(pod["containers"]) == 1
    assert "initContainers" not in pod
    assert pod["serviceAccountName"] == account
    # The node plugin has a token for brokers and none for the API.
    assert pod["automountServiceAccountToken"] is (role != "node")
    made = named(INSTALLED, "ServiceAccount", account)
    assert made["automountServiceAccountToken"] is False


def test_namespaces_come_first_and_then_the_webhook_configuration() -> None:
    """Pods that are applied together with it must not slip past it."""
    kinds = [manifest["kind"] for manifest in INSTALLED]
    assert kinds[:3] == ["Namespace", "Namespace", "MutatingWebhookConfiguration"]
    assert "Namespace" not in kinds[3:]


def test_the_node_plugin_is_replaced_before_another_one_starts() -> None:
    strategy = workload(INSTALLED, "node")["spec"]["updateStrategy"]
    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"]["maxSurge"] == 0


@pytest.mark.parametrize("found", [INSTALLED, CLEANUP], ids=["install", "cleanup"])
def test_the_node_plugin_runs_on_every_linux_node_that_is_one(found: list[Manifest]) -> None:
    pod = pod_of(found, "node")
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["priorityClassName"] == "system-node-critical"
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    for key, value in (
        ("type", "virtual-kubelet"),
        ("eks.amazonaws.com/compute-type", "fargate"),
    ):
        (expression,) = [each for each in term["matchExpressions"] if each["key"] == key]
        # As Kubernetes has it, an absent label is in no list.
        assert (expression["operator"], value in expression["values"]) == ("NotIn", True)


def test_the_node_plugin_sees_kubelets_folders_at_their_own_paths() -> None:
    container, pod = container_of(INSTALLED, "node"), pod_of(INSTALLED, "node")
    _, configured = settings_of(INSTALLED, "node")
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
    resources = container_of(INSTALLED, "node")["resources"]
    assert set(resources["limits"]) == {"memory"}
    tmpfs = settings_of(INSTALLED, "node")[1].size
    # The process takes 52 to 60 MiB (docs/evidence/performance.md).
    assert flag_values.size(resources["limits"]["memory"]) >= tmpfs + 60 * MEBIBYTE + 32 * MEBIBYTE
    assert flag_values.size(resources["requests"]["memory"]) >= 60 * MEBIBYTE


def test_only_the_node_plugin_is_privileged_or_root_and_no_pod_shares_a_namespace() -> None:
    for pod in PODS:
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        names = {container["name"] for container in pod["containers"]}
        if not names & {"node", "done"}:
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] > 0
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in CONTAINERS:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        if security.get("privileged"):
            assert container["name"] in {"node", "cleanup"}
            continue
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("role", ROLES)
def test_probes_and_metrics_are_on_the_ports_that_are_served(role: str) -> None:
    container = container_of(INSTALLED, role)
    served = flags.common_settings(flags_of(container))
    assert served.listen == ("::", port_of(container, "metrics"))
    assert served.health_listen == ("::", port_of(container, "health"))
    health = {"livenessProbe": "/healthz", "readinessProbe": "/readyz", "startupProbe": "/healthz"}
    for probe, path in health.items():
        page = container[probe]["httpGet"]
        assert (page["port"], page["path"]) == ("health", path)


def test_the_refresher_reads_both_config_maps_of_issuers_one_of_which_may_be_absent() -> None:
    container, pod = container_of(INSTALLED, "refresher"), pod_of(INSTALLED, "refresher")
    volumes = {v["name"]: v["configMap"] for v in pod["volumes"] if "configMap" in v}
    mounts = {m["mountPath"]: volumes.get(m["name"]) for m in container["volumeMounts"]}
    _, settings = settings_of(INSTALLED, "refresher")
    assert [mounts[str(path)] for path in settings.issuers] == [
        {"name": "oauth2-csi-issuers"},
        {"name": "oauth2-csi-issuers-extra", "optional": True},
    ]


def test_the_spool_is_memory_that_outlives_the_process() -> None:
    container, pod = container_of(INSTALLED, "refresher"), pod_of(INSTALLED, "refresher")
    spool = settings_of(INSTALLED, "refresher")[1].spool_dir
    (mount,) = [m for m in container["volumeMounts"] if Path(m["mountPath"]) in spool.parents]
    (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    assert volume["emptyDir"]["medium"] == "Memory"
    size = flag_values.size(volume["emptyDir"]["sizeLimit"])
    # 10,000 tokens take 205 MiB (docs/evidence/performance.md).
    assert flag_values.size(container["resources"]["limits"]["memory"]) >= size + 205 * MEBIBYTE


@pytest.mark.parametrize("role", ROLES[1:])
def test_one_replica_goes_on_through_rollouts_and_drains(role: str) -> None:
    deployment = workload(INSTALLED, role)["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = named(INSTALLED, "PodDisruptionBudget", f"oauth2-csi-{role}")["spec"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, deployment["selector"])
    apart = pod_of(INSTALLED, role)["affinity"]["podAntiAffinity"]
    (term,) = apart["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["labelSelector"] == deployment["selector"]


def test_nodes_find_every_broker_and_verify_it() -> None:
    service, container = (
        named(INSTALLED, "Service", "oauth2-csi-broker"),
        container_of(INSTALLED, "broker"),
    )
    (port,) = service["spec"]["ports"]
    assert service["spec"]["clusterIP"] == "None"
    assert not service["spec"].get("publishNotReadyAddresses")
    host, node_port = flags.broker_of_node(flags_of(container_of(INSTALLED, "node")))
    _, served = settings_of(INSTALLED, "broker")
    assert served.names == {host}
    assert host == f"oauth2-csi-broker.{service['metadata']['namespace']}.svc"
    # Of a headless Service the port is that of the pods.
    assert served.listen == ("::", node_port)
    assert port_of(container, port["targetPort"]) == port["port"] == node_port
    assert served.account == f"{service['metadata']['namespace']}:oauth2-csi-node"
    # Only in the pod's own network do its DNS settings fit without a further one.
    assert not {"dnsPolicy", "hostNetwork"} & set(pod_of(INSTALLED, "node"))
    # They have come back to a new broker before a rollout stops the next one.
    ready = workload(INSTALLED, "broker")["spec"]["minReadySeconds"]
    assert ready >= max(ClientPauses().rejoin)


def test_the_node_plugin_has_a_token_for_brokers_and_their_authorities_and_nothing_else() -> None:
    container, pod = container_of(INSTALLED, "node"), pod_of(INSTALLED, "node")
    args = flags_of(container)
    (volume,) = [volume for volume in pod["volumes"] if "projected" in volume]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == volume["name"]]
    assert mount == {"name": "broker", "mountPath": str(args.broker_token.parent), "readOnly": True}
    token = {"audience": BROKER_AUDIENCE, "expirationSeconds": 3600, "path": args.broker_token.name}
    authority = {"key": "ca.crt", "path": args.broker_ca.name}
    assert volume["projected"]["sources"] == [
        {"serviceAccountToken": token},
        {"configMap": {"name": BROKER_CA, "optional": True, "items": [authority]}},
    ]
    assert not [volume for volume in pod["volumes"] if {"secret", "configMap"} & set(volume)]


def test_the_demo_issuer_is_called_what_its_service_and_its_config_map_call_it() -> None:
    (service,) = [each for each in DEMO if each["kind"] == "Service"]
    config_map = named(DEMO, "ConfigMap", "oauth2-csi-issuers-extra")
    (container,) = [each for each in CONTAINERS if each["name"] == "demo-issuer"]
    args, metadata, (port,) = flags_of(container), service["metadata"], service["spec"]["ports"]
    assert args.listen[1] == port_of(container, "http")
    assert config_map["metadata"]["namespace"] == "oauth2-csi"
    (text,) = config_map["data"].values()
    (issuer,) = Issuers.parse([("demo", yaml.safe_load(text))]).by_name.values()
    assert issuer.proxy == f"http://{metadata['name']}.{metadata['namespace']}.svc:{port['port']}"
    assert (issuer.issuer, issuer.default, issuer.internal) == (args.issuer, True, True)
    assert issuer.login is not None
    assert issuer.login.client_id == LOGIN_CLIENT.client_id
    # The address in the user's browser is where the tutorial forwards the service's port to.
    forward = (
        f"kubectl -n {metadata['namespace']} port-forward service/{metadata['name']} "
        f"{urlsplit(issuer.issuer).port}:{port['port']}"
    )
    assert forward in {command.line for command in page_commands.commands("docs/tutorial.md")}


def test_a_cleanup_takes_the_place_of_the_plugin_and_sees_all_of_kubelets_folder() -> None:
    pod = pod_of(CLEANUP, "node")
    (container,) = pod["initContainers"]
    cleanup = flags.cleanup_settings(flags_of(container))
    assert cleanup.kubelet_dir == settings_of(INSTALLED, "node")[1].kubelet_dir
    assert cleanup.force is False
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == str(cleanup.kubelet_dir)
    assert mount["mountPropagation"] == "Bidirectional"
    assert pod["automountServiceAccountToken"] is False
