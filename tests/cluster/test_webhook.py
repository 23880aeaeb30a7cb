"""The webhook as a process with the rights that deploy/ gives it, asked by a real API server."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.webhook_cluster import Pod, WebhookCluster, as_created_by_controllers, pods_of
from tests.core.admission.pods import (
    ENTRY,
    EOS,
    KEY,
    TOKEN_PRINTER,
    container,
    mounted,
    pod_with,
)
from tests.processes import page_of, running
from tests.refresher.bench import until

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

EXAMPLES = Path(__file__).parents[2] / "examples" / "announcement"
OPEN, STRICT = "webhook-open", "webhook-strict"
PORT = re.compile(r"admission reviews on port ([0-9]+)")
MOUNT = {"mountPath": "/tmp/oauthtk_0", "subPath": "oauthtk_0", "readOnly": True}


@pytest.fixture(scope="module")
def webhook_cluster(cluster: Cluster) -> Iterator[WebhookCluster]:
    """With the webhook up and trusted."""
    webhook_cluster = WebhookCluster(cluster)
    webhook_cluster.reset()
    webhook_cluster.create_namespace(OPEN)
    webhook_cluster.create_namespace(STRICT, **{"pod-security.kubernetes.io/enforce": "restricted"})
    flags = ["--store", "kubernetes", "--kubeconfig", str(webhook_cluster.kubeconfig)]
    flags += ["--listen", "127.0.0.1:0", "--webhook-listen", "127.0.0.1:0"]
    try:
        with running("webhook", *flags) as (process, log):
            found = until(lambda: PORT.search(log.read_text(encoding="utf-8")), "it listens")
            until(lambda: "does not exist" in not_ready(log), "it looks for it")
            webhook_cluster.register(int(found[1]))
            until(lambda: page_of(log, "readyz") == (200, "ok\n"), "ready")
            webhook_cluster.wait_until_served(OPEN)
            yield webhook_cluster
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, log.read_text(encoding="utf-8")
            assert "Traceback" not in log.read_text(encoding="utf-8")
    finally:
        webhook_cluster.reset()


def not_ready(log: Path) -> str:
    status, text = page_of(log, "readyz")
    assert status == 503
    return text if "not been read" not in text else ""


def created(webhook_cluster: WebhookCluster, namespace: str, pod: Pod) -> dict[str, Any]:
    status, answer = webhook_cluster.create_pod(namespace, pod)
    assert status == 201, answer
    spec: dict[str, Any] = answer["spec"]
    return spec


def of_ours(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [v for v in spec.get("volumes", []) if v.get("csi", {}).get("driver")]


@pytest.mark.parametrize(
    ("manifest", "template"),
    [
        pytest.param(TOKEN_PRINTER, None, id="plain"),
        pytest.param(EOS, "oauth-token-eos-template", id="eos"),
        pytest.param(
            (EXAMPLES / "token-printer.yaml").read_text(encoding="utf-8"), None, id="example"
        ),
        pytest.param(
            yaml.safe_dump(pods_of(EXAMPLES / "eos.yaml")[0]),
            "oauth-token-eos-template",
            id="eos example",
        ),
    ],
)
@pytest.mark.parametrize(
    "made", [dict, as_created_by_controllers], ids=["by hand", "by a controller"]
)
def test_the_announced_pods_get_volume_and_mount(
    webhook_cluster: WebhookCluster, manifest: str, template: str | None, made: Callable[[Pod], Pod]
) -> None:
    pod = made(yaml.safe_load(manifest))
    webhook_cluster.plane.api("DELETE", f"/api/v1/namespaces/{OPEN}/pods?gracePeriodSeconds=0")
    spec = created(webhook_cluster, OPEN, pod)
    (volume,) = of_ours(spec)
    attributes = {"secretName": "hello-token", "fileName": "oauthtk_0", "owner": "0"}
    attributes |= {"group": "0", "mode": "0400"}
    attributes |= {"templateConfigMapName": template} if template else {}
    assert volume["csi"] == {
        "driver": "oauth2.csi.cern.ch",
        "readOnly": True,
        "volumeAttributes": attributes,
    }
    (one,) = spec["containers"]
    assert MOUNT | {"name": volume["name"]} in one["volumeMounts"]
    own = {mount["mountPath"] for mount in pod["spec"]["containers"][0].get("volumeMounts", [])}
    assert own < {mount["mountPath"] for mount in one["volumeMounts"]}


SIDECAR = container("sidecar") | {"restartPolicy": "Always"}
OWNER = {"apiVersion": "apps/v1", "controller": True, "name": "web", "uid": "u"}


@pytest.mark.parametrize(
    ("pod", "named"),
    [
        pytest.param(pod_with(ENTRY), ["main"], id="one of two"),
        pytest.param(
            pod_with(ENTRY, ENTRY | {"container": "side", "owner": 7}), ["main", "side"], id="both"
        ),
        pytest.param(
            pod_with(ENTRY | {"container": "setup"}, initContainers=[container("setup")]),
            ["setup"],
            id="init",
        ),
        pytest.param(
            pod_with(ENTRY | {"container": "sidecar"}, initContainers=[SIDECAR]),
            ["sidecar"],
            id="restartable init",
        ),
        pytest.param(
            pod_with(ENTRY, securityContext={"fsGroup": 2000, "runAsUser": 5}), ["main"], id="group"
        ),
        pytest.param(
            pod_with(
                ENTRY,
                volumes=[{"name": "tmp", "emptyDir": {}}],
                containers=[
                    container("main", mounted("tmp", "/tmp"))
                    | {"securityContext": {"readOnlyRootFilesystem": True}}
                ],
            ),
            ["main"],
            id="read-only root, emptyDir on tmp",
        ),
        pytest.param(pod_with(ENTRY, restartPolicy="Never"), ["main"], id="job"),
        pytest.param(
            pod_with(ENTRY, hostname="web-0", subdomain="web"), ["main"], id="stateful set"
        ),
        pytest.param(
            pod_with(ENTRY, tolerations=[{"operator": "Exists"}], nodeName="n1"),
            ["main"],
            id="daemon set",
        ),
        pytest.param(
            pod_with(ENTRY, automountServiceAccountToken=False), ["main"], id="no volumes before"
        ),
    ],
)
def test_pods_of_all_kinds_get_mounts_where_they_are_named(
    webhook_cluster: WebhookCluster, pod: Pod, named: list[str]
) -> None:
    pod = as_created_by_controllers(pod)
    pod["metadata"]["ownerReferences"] = [OWNER | {"kind": "ReplicaSet"}]
    spec = created(webhook_cluster, OPEN, pod)
    everyone = spec["containers"] + spec.get("initContainers", [])
    ours = {volume["name"] for volume in of_ours(spec)}
    assert ours
    got = {
        one["name"]
        for one in everyone
        for mount in one.get("volumeMounts", [])
        if mount["name"] in ours
    }
    assert got == set(named)
    assert all(volume["csi"]["readOnly"] for volume in of_ours(spec))


def test_a_restricted_namespace_takes_the_result(webhook_cluster: WebhookCluster) -> None:
    secured = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    main = container("main") | {"securityContext": secured}
    pod = pod_with(ENTRY | {"owner": 1000}, containers=[main])
    assert of_ours(created(webhook_cluster, STRICT, as_created_by_controllers(pod)))
    del main["securityContext"]
    status, answer = webhook_cluster.create_pod(STRICT, as_created_by_controllers(pod))
    assert (status, "PodSecurity" in answer["message"]) == (403, True), "it is enforced"


def annotated(text: str) -> Pod:
    pod = pod_with()
    pod["metadata"]["annotations"][KEY] = text
    return pod


def entries(*changes: dict[str, Any]) -> str:
    return json.dumps([ENTRY | change for change in changes])


@pytest.mark.parametrize(
    ("pod", "hints"),
    [
        pytest.param(annotated("[{"), ["not JSON at line 1 column"], id="no JSON"),
        pytest.param(annotated("{}"), ["is not an array"], id="object"),
        pytest.param(annotated("[NaN]"), ["NaN"], id="NaN"),
        pytest.param(annotated("[7]"), ["entry 1 of 1 is not an object"], id="number"),
        pytest.param(annotated("[{}]"), ['"secretName"', '"container"'], id="missing"),
        pytest.param(annotated(entries({"owner": "0"})), ['"owner"', "integer"], id="quotes"),
        pytest.param(annotated(entries({"owner": -1})), ['"owner"', "uid"], id="negative"),
        pytest.param(annotated(entries({"secretName": "A_B"})), ['"secretName"'], id="name"),
        pytest.param(annotated(entries({"container": "x"})), ['"x"', '"main"', '"side"'], id="who"),
        pytest.param(annotated(entries({}, {})), ["entry 2 of 2", "taken by entry 1"], id="twice"),
        pytest.param(
            pod_with(
                ENTRY,
                volumes=[{"name": "v", "emptyDir": {}}],
                containers=[container("main", mounted("v", "/tmp/oauthtk_0"))],
            ),
            ["/tmp/oauthtk_0", "move that one"],
            id="path taken",
        ),
        pytest.param(
            pod_with(ENTRY, volumes=[{"name": "oauth2-50d83a19b6", "emptyDir": {}}]),
            ["another volume oauth2-50d83a19b6"],
            id="name taken",
        ),
    ],
)
def test_a_malformed_annotation_is_refused_by_name(
    webhook_cluster: WebhookCluster, pod: Pod, hints: list[str]
) -> None:
    arguments = ("create", "--filename=-", f"--namespace={OPEN}")
    done = webhook_cluster.plane.try_kubectl(
        *arguments, stdin=json.dumps(as_created_by_controllers(pod))
    )
    assert done.returncode != 0
    assert [hint for hint in [KEY, *hints] if hint not in done.stderr] == []
    assert "Traceback" not in done.stderr


def test_kubectl_shows_warnings(webhook_cluster: WebhookCluster) -> None:
    pod = as_created_by_controllers(yaml.safe_load(EOS))
    done = webhook_cluster.plane.try_kubectl(
        "create", "--filename=-", f"--namespace={OPEN}", stdin=json.dumps(pod)
    )
    assert done.returncode == 0
    assert "Warning: entry 1 of 1" in done.stderr
    assert "eos-printer" in done.stderr


def test_a_dry_run_shows_the_result_and_stores_nothing(webhook_cluster: WebhookCluster) -> None:
    pod = pod_with(ENTRY)
    pod["metadata"]["name"] = "dry"
    shown = webhook_cluster.plane.kubectl(
        "create",
        "--dry-run=server",
        "--output=json",
        "--filename=-",
        f"--namespace={OPEN}",
        stdin=json.dumps(pod),
    )
    assert of_ours(json.loads(shown)["spec"])
    assert webhook_cluster.plane.api("GET", f"/api/v1/namespaces/{OPEN}/pods/dry")["code"] == 404


def test_a_pod_that_was_admitted_may_be_created_again_as_it_is(
    webhook_cluster: WebhookCluster,
) -> None:
    """As by `kubectl get --output=yaml`, an edit and `kubectl replace --force`."""
    status, first = webhook_cluster.create_pod(OPEN, as_created_by_controllers(pod_with(ENTRY)))
    assert status == 201
    kept = {key: first["metadata"][key] for key in ("generateName", "annotations")}
    again = created(webhook_cluster, OPEN, first | {"metadata": kept, "status": {}})
    assert of_ours(again) == of_ours(first["spec"])


def test_updates_and_other_objects_never_come_here(webhook_cluster: WebhookCluster) -> None:
    status, pod = webhook_cluster.create_pod(OPEN, as_created_by_controllers(pod_with(ENTRY)))
    assert status == 201
    name = pod["metadata"]["name"]
    webhook_cluster.plane.kubectl(
        "annotate", "pod", name, f"{KEY}=broken", "--overwrite", f"-n{OPEN}"
    )
    assert of_ours(
        webhook_cluster.plane.api("GET", f"/api/v1/namespaces/{OPEN}/pods/{name}")["spec"]
    )
