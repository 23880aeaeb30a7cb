"""Generated pods: what a real API server takes without the annotation it takes with it, too."""

import base64
import contextlib
import copy
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from csidriver.core.names import WEBHOOK
from csidriver.webhook.metrics import Result
from csidriver.webhook.review_handler import Handler, ReviewResponse
from tests.cluster.cluster import Cluster
from tests.cluster.webhook_cluster import Pod, WebhookCluster
from tests.core.admission.pods import ENTRY, EOS, KEY, container, pod_with
from tests.refresher.bench import until
from tests.webhook.replica import Replica, ReplicaOptions

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

NAMESPACE = "webhook-pods"


@pytest.fixture(scope="module")
def webhook_cluster(cluster: Cluster) -> Iterator[WebhookCluster]:
    webhook_cluster = WebhookCluster(cluster)
    webhook_cluster.reset()
    webhook_cluster.create_namespace(NAMESPACE)
    yield webhook_cluster
    webhook_cluster.reset()


@pytest.fixture(scope="module")
def replica(webhook_cluster: WebhookCluster) -> Iterator[Replica]:
    replica = Replica(webhook_cluster.store(), webhook_cluster.configuration())
    webhook_cluster.register(replica.port)
    replica.start()
    until(lambda: replica.role.ready() == [])
    webhook_cluster.wait_until_served(NAMESPACE)
    yield replica
    replica.stop()


NAMES = ["a", "b", "c"]
VOLUMES: dict[str, dict[str, Any]] = {
    "scratch": {"emptyDir": {}},
    "memory": {"emptyDir": {"medium": "Memory"}},
    "host": {"hostPath": {"path": "/x"}},
    "settings": {"configMap": {"name": "x"}},
    "disk": {"persistentVolumeClaim": {"claimName": "x"}},
    "block": {"persistentVolumeClaim": {"claimName": "y"}},
    "other": {"csi": {"driver": "other.example", "readOnly": True}},
    "mixed": {"projected": {"sources": [{"secret": {"name": "x"}}]}},
    # A user's own use of the driver, and of a name like ours.
    "oauth2-0000000000": {
        "csi": {
            "driver": "oauth2.csi.cern.ch",
            "readOnly": True,
            "volumeAttributes": {"secretName": "hello-token", "owner": "0"},
        }
    },
}
PATHS = ["/tmp", "/tmp/", "/x", "/tmp/oauthtk_1", "//tmp/oauthtk_2", "tmp", "/tmp/a/../oauthtk_0"]
MOUNTS = st.fixed_dictionaries(
    {"name": st.sampled_from([name for name in VOLUMES if name != "block"])}
    | {"mountPath": st.sampled_from(PATHS)},
    optional={
        "readOnly": st.booleans(),
        "subPath": st.just("below"),
        "mountPropagation": st.just("HostToContainer"),
    },
)
DEVICES = st.fixed_dictionaries(
    {"name": st.just("block"), "devicePath": st.sampled_from(["/tmp/oauthtk_1", "/dev/x"])}
)
PARTS = st.fixed_dictionaries(
    {"image": st.just("busybox")},
    optional={
        "volumeMounts": st.none()
        | st.lists(MOUNTS, max_size=3, unique_by=lambda m: m["mountPath"]),
        "volumeDevices": st.lists(DEVICES, max_size=1),
        "securityContext": st.just({"readOnlyRootFilesystem": True, "runAsUser": 7}),
        "env": st.just([{"name": "N", "value": "<&\u2028\U0001f600"}]),
        "resources": st.just({"limits": {"cpu": "1"}}),
        "lifecycle": st.just({"preStop": {"exec": {"command": ["true"]}}}),
    },
)


def named(parts: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    return [{"name": name} | part for name, part in zip(names, parts, strict=False)]


CONTAINERS = st.lists(PARTS, min_size=1, max_size=2).map(lambda parts: named(parts, NAMES))
INITIAL = st.lists(
    PARTS | PARTS.map(lambda part: {k: v for k, v in part.items() if k != "lifecycle"}),
    max_size=2,
).map(lambda parts: named(parts, ["i", "j"]))
SPECS = st.fixed_dictionaries(
    {
        "containers": CONTAINERS,
        "volumes": st.just([{"name": name} | source for name, source in VOLUMES.items()]),
    },
    optional={
        "initContainers": INITIAL,
        "securityContext": st.just({"fsGroup": 2000}),
        "automountServiceAccountToken": st.booleans(),
        "hostNetwork": st.just(False),
        "restartPolicy": st.sampled_from(["Never", "OnFailure", "Always"]),
        "shareProcessNamespace": st.just(True),
        "hostUsers": st.just(False),
        "os": st.just({"name": "linux"}),
    },
)


def entries_for(spec: dict[str, Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Entries that are valid in themselves; most of them fit the pod."""
    names = [one["name"] for one in everyone(spec)]
    return st.lists(
        st.fixed_dictionaries(
            {
                "secretName": st.sampled_from(["s", "a.b-c", "a" * 253]),
                "container": st.sampled_from([*names, *names, *names, "absent"]),
                "owner": st.sampled_from([0, 1, 1, 1, 2, 2**32 - 2]),
            },
            optional={"templateConfigMapName": st.just("page"), "unknown": st.just(1)},
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda entry: (entry["container"], entry["owner"]),
    )


@pytest.mark.usefixtures("replica")
@settings(
    max_examples=300,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(spec=SPECS, data=st.data())
def test_a_pod_that_is_taken_without_the_annotation_is_taken_or_denied_by_us_with_it(
    webhook_cluster: WebhookCluster, spec: dict[str, Any], data: st.DataObject
) -> None:
    entries = data.draw(entries_for(spec))
    pod: Pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"}, "spec": spec}
    status, plain = webhook_cluster.create_pod(NAMESPACE, pod, dry=True)
    if status != HTTPStatus.CREATED:
        event("not a valid pod")
        return
    pod["metadata"]["annotations"] = {KEY: json.dumps(entries)}
    status, answer = webhook_cluster.create_pod(NAMESPACE, pod, dry=True)
    if status == HTTPStatus.BAD_REQUEST:
        event("denied by us")
        assert "denied the request: annotation" in answer["message"]
        return
    event(f"taken, with {len(entries)} entries")
    assert status == HTTPStatus.CREATED, answer
    before, after = stripped(plain["spec"]), stripped(answer["spec"])
    lone = len(before["containers"]) == 1 and not before.get("initContainers")
    wanted = {entry["container"] for entry in entries}
    for kind in ("containers", "initContainers"):
        for old, new in zip(before.get(kind, []), after.get(kind, []), strict=True):
            if old["name"] in wanted or lone:
                assert mounts_of(old) == mounts_of(new)[: len(mounts_of(old))]
                assert old | {"volumeMounts": []} == new | {"volumeMounts": []}
            else:
                assert old == new
    volumes = before.get("volumes", [])
    assert after.get("volumes", [])[: len(volumes)] == volumes
    added = sum(len(mounts_of(one)) for one in everyone(after))
    assert added - sum(len(mounts_of(one)) for one in everyone(before)) == len(entries)
    once = {key: answer["metadata"][key] for key in ("generateName", "annotations")}
    status, again = webhook_cluster.create_pod(
        NAMESPACE, pod | {"metadata": once, "spec": answer["spec"]}, dry=True
    )
    assert (status, again["spec"]) == (HTTPStatus.CREATED, answer["spec"])


def stripped(spec: dict[str, Any]) -> dict[str, Any]:
    """Without what the API server adds under a name made by chance."""
    copied = copy.deepcopy(spec)
    copied["volumes"] = [v for v in spec.get("volumes", []) if not v["name"].startswith("kube-api")]
    for one in everyone(copied):
        one["volumeMounts"] = [m for m in mounts_of(one) if not m["name"].startswith("kube-api")]
    return copied


def everyone(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spec["containers"] + spec.get("initContainers", [])
    return found


def mounts_of(one: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = one.get("volumeMounts", [])
    return found


def adds_a_sidecar(body: bytes) -> ReviewResponse:
    """Add a container and a volume, as a later webhook may do, and fields to our volume."""
    spec = json.loads(body)["request"]["object"]["spec"]
    if any(one["name"] == "proxy" for one in spec["containers"]):
        return patched(body, [])
    ours = next(n for n, volume in enumerate(spec["volumes"]) if "csi" in volume)
    return patched(
        body,
        [
            {"op": "add", "path": f"/spec/volumes/{ours}/csi/fsType", "value": "tmpfs"},
            {"op": "add", "path": "/spec/containers/0", "value": container("proxy")},
            {"op": "add", "path": "/spec/volumes/0", "value": {"name": "certs", "emptyDir": {}}},
        ],
    )


def adds_to_every_mount(body: bytes) -> ReviewResponse:
    """Write out the defaults of all mounts, and add a sidecar that has the same mounts."""
    spec = json.loads(body)["request"]["object"]["spec"]
    if any(one["name"] == "proxy" for one in spec["containers"]):
        return patched(body, [])
    more = {"mountPropagation": "None", "recursiveReadOnly": "Disabled"}
    full = [mount | more for mount in spec["containers"][0]["volumeMounts"]]
    return patched(
        body,
        [
            {"op": "replace", "path": "/spec/containers/0/volumeMounts", "value": full},
            {"op": "add", "path": "/spec/containers/-", "value": container("proxy", *full)},
        ],
    )


def adds_what_istio_adds(body: bytes) -> ReviewResponse:
    if "initContainers" in json.loads(body)["request"]["object"]["spec"]:
        return patched(body, [])
    return patched(
        body,
        [
            {"op": "add", "path": "/spec/initContainers", "value": [container("istio-init")]},
            {"op": "add", "path": "/spec/containers/0", "value": container("istio-proxy")},
        ],
    )


def patched(body: bytes, operations: list[dict[str, Any]]) -> ReviewResponse:
    request = json.loads(body)["request"]
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
    told = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return ReviewResponse(HTTPStatus.OK, json.dumps(told).encode(), Result.INJECTED)


@contextlib.contextmanager
def another(webhook_cluster: WebhookCluster, handler: Handler, name: str) -> Iterator[None]:
    """Another webhook, called in the order of the names, with the certificate of ours."""
    replica = Replica(webhook_cluster.store(), None, ReplicaOptions(handler=handler))
    replica.start()
    until(lambda: replica.role.ready() == [])
    manifest = webhook_cluster.manifest(replica.port)
    ours = webhook_cluster.plane.api(
        "GET",
        f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{WEBHOOK}",
    )
    manifest["metadata"]["name"] = name
    manifest["webhooks"][0]["name"] = "another.example.org"
    bundle = ours["webhooks"][0]["clientConfig"]["caBundle"]
    manifest["webhooks"][0]["clientConfig"]["caBundle"] = bundle
    webhook_cluster.plane.kubectl("apply", "--filename=-", stdin=json.dumps(manifest))
    try:
        yield
    finally:
        webhook_cluster.plane.kubectl("delete", "mutatingwebhookconfiguration", name)
        replica.stop()


@pytest.mark.parametrize("handler", [adds_a_sidecar, adds_to_every_mount])
@pytest.mark.parametrize("name", ["main", "slip"])
def test_what_another_webhook_adds_later_changes_nothing(
    webhook_cluster: WebhookCluster, replica: Replica, name: str, handler: Handler
) -> None:
    pod = pod_with(ENTRY | {"container": name}, containers=[container("main")])
    with another(webhook_cluster, handler, "z-another"):
        status, answer = until(lambda: with_proxy(webhook_cluster, pod))
    assert status == HTTPStatus.CREATED, answer
    labels = {"result": Result.UNCHANGED.value}
    counted = "oauth2_csi_webhook_admissions_total"
    assert until(lambda: replica.registry.get_sample_value(counted, labels)), "it is asked again"
    mounted = {
        one["name"]: [m["mountPath"] for m in mounts_of(one) if m["mountPath"].startswith("/tmp/")]
        for one in answer["spec"]["containers"]
    }
    copied = ["/tmp/oauthtk_0"] if handler is adds_to_every_mount else []
    assert mounted == {"proxy": copied, "main": ["/tmp/oauthtk_0"]}
    assert len([v for v in answer["spec"]["volumes"] if "csi" in v]) == 1


@pytest.mark.usefixtures("replica")
def test_the_announced_eos_pod_is_served_in_a_mesh_that_is_called_before_us(
    webhook_cluster: WebhookCluster,
) -> None:
    with another(webhook_cluster, adds_what_istio_adds, "istio-sidecar-injector"):
        status, answer = until(lambda: with_proxy(webhook_cluster, yaml.safe_load(EOS)))
    assert status == HTTPStatus.CREATED, answer
    proxy, own = answer["spec"]["containers"]
    assert (proxy["name"], own["name"]) == ("istio-proxy", "eos-printer")
    assert "/tmp/oauthtk_0" in {mount["mountPath"] for mount in mounts_of(own)}
    others = [proxy, *answer["spec"]["initContainers"]]
    assert [m for one in others for m in mounts_of(one) if m["mountPath"].startswith("/tmp")] == []


def with_proxy(webhook_cluster: WebhookCluster, pod: Pod) -> tuple[int, dict[str, Any]] | None:
    """The answer, once the other webhook is known to the API server."""
    status, answer = webhook_cluster.create_pod(NAMESPACE, pod, dry=True)
    known = status != HTTPStatus.CREATED or len(answer["spec"]["containers"]) > 1
    return (status, answer) if known else None
