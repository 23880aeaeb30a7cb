import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.admission.jsonpatch import patch
from csidriver.core.admission.review import inject, review
from csidriver.errors import InvalidAnnotation, InvalidRequest

KEY = "oauth2-refresh-controller.cern.ch/to-inject"
ENTRY = {"secretName": "hello-token", "container": "main", "owner": 0}

Pod = dict[str, Any]

# As pasted from the release announcement of oauth2-refresh-controller 1.0.1.
TOKEN_PRINTER = r"""
apiVersion: v1
kind: Pod
metadata:
  name: token-printer-pod

  annotations:
    # to-inject annotation describes which token to inject into what container, and under what user.
    # It's a JSON-formatted string holding an array of objects with following schema:
    #
    # * secretName: (string) Name of the OAuth2 token Secret in Pod's namespace.
    # * container: (string) Name of the container into which inject the token.
    # * owner: (integer) The token file will have its UID and GID set to this value.
    #
    # See docs at https://kubernetes.docs.cern.ch/docs/security/credentials/#oauth2
    # for complete list of available parameters (link restricted for internal access only).

    oauth2-refresh-controller.cern.ch/to-inject: |
      [
        {
          "secretName": "hello-token",
          "container": "token-printer",
          "owner": 0
        }
      ]

spec:
  containers:

  - name: token-printer
    image: busybox
    imagePullPolicy: IfNotPresent
    command:
    - /bin/sh
    - -c
    - |
      while true; do
        cat /tmp/oauthtk_0
        date
        sleep 20m
      done
"""
EOS = r"""
apiVersion: v1
kind: Pod
metadata:
  name: token-printer-pod

  annotations:
    oauth2-refresh-controller.cern.ch/to-inject: |
      [
        {
          "secretName": "hello-token",
          "container": "token-printer",
          "owner": 0,
          "templateConfigMapName": "oauth-token-eos-template"
        }
      ]

spec:
  volumes:
  - name: eos
    hostPath:
      path: /var/eos

  containers:

  - name: eos-printer
    image: busybox
    imagePullPolicy: IfNotPresent
    volumeMounts:
    - name: eos
      mountPath: /eos
    env:
    - name: OAUTH2_TOKEN
      value: FILE:/tmp/oauthtk_0
    command:
    - /bin/sh
    - -c
    - |
      while true; do
        cat /tmp/oauthtk_0
        ls -l /eos/home-r/rvasek
        sleep 20m
      done
"""


def container(name: str, *mounts: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "image": "busybox"} | ({"volumeMounts": list(mounts)} if mounts else {})


def mounted(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "mountPath": path}


def pod_with(*entries: Any, **spec: Any) -> Pod:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "creationTimestamp": None,
            "annotations": {KEY: json.dumps(entries)},
        },
        "spec": {"containers": [container("main"), container("side")]} | spec,
    }


def review_of(pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "705ab4f5", "operation": "CREATE", "object": pod},
    }


def response_to(pod: Pod) -> dict[str, Any]:
    answer = review(review_of(pod))
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = answer["response"]
    assert response["uid"] == "705ab4f5"
    return response


def operations_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    if "patch" not in response:
        assert "patchType" not in response
        return []
    assert response["patchType"] == "JSONPatch"
    operations: list[dict[str, Any]] = json.loads(base64.b64decode(response["patch"]))
    return operations


def applied(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902, as far as add and replace go; strict about what must exist."""
    root = {"": copy.deepcopy(document)}
    for operation in operations:
        assert operation["op"] in {"add", "replace"}
        parts = operation["path"].split("/")
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in parts]
        holder: Any = root
        for part in parents:
            holder = holder[int(part) if isinstance(holder, list) else part]
        value = copy.deepcopy(operation["value"])
        if isinstance(holder, list) and operation["op"] == "add":
            holder.insert(len(holder) if last == "-" else int(last), value)
        elif isinstance(holder, list):
            holder[int(last)] = value
        else:
            assert operation["op"] == "add" or last in holder
            holder[last] = value
    return root[""]


def problems_of(pod: Pod) -> tuple[str, ...]:
    with pytest.raises(InvalidAnnotation) as caught:
        inject(pod)
    response = response_to(pod)
    assert response["allowed"] is False
    assert response["status"] == {
        "code": 400,
        "reason": "BadRequest",
        "message": str(caught.value),
    }
    assert "patch" not in response
    return caught.value.problems


def test_the_announced_pod_gets_its_token_file() -> None:
    pod = yaml.safe_load(TOKEN_PRINTER)
    response = response_to(pod)
    assert response["allowed"] is True
    assert "warnings" not in response
    spec = applied(pod, operations_of(response))["spec"]
    (volume,) = spec["volumes"]
    assert volume == {
        "name": "oauth2-50d83a19b6",
        "csi": {
            "driver": "oauth2.csi.cern.ch",
            "readOnly": True,
            "volumeAttributes": {
                "secretName": "hello-token",
                "fileName": "oauthtk_0",
                "owner": "0",
                "group": "0",
                "mode": "0400",
            },
        },
    }
    assert spec["containers"][0]["volumeMounts"] == [
        {
            "name": volume["name"],
            "mountPath": "/tmp/oauthtk_0",
            "subPath": "oauthtk_0",
            "readOnly": True,
        }
    ]


def test_the_announced_eos_pod_is_served_in_spite_of_its_slip() -> None:
    pod = yaml.safe_load(EOS)
    response = response_to(pod)
    (warning,) = response["warnings"]
    assert '"token-printer"' in warning
    assert '"eos-printer"' in warning
    spec = applied(pod, operations_of(response))["spec"]
    assert spec["volumes"][0]["name"] == "eos"
    attributes = spec["volumes"][1]["csi"]["volumeAttributes"]
    assert attributes["templateConfigMapName"] == "oauth-token-eos-template"
    paths = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert paths == ["/eos", "/tmp/oauthtk_0"]


@pytest.mark.parametrize("place", ["containers", "initContainers"])
def test_the_slip_is_still_forgiven_after_another_webhook_added_its_sidecar(place: str) -> None:
    first = inject(yaml.safe_load(EOS))
    pod = copy.deepcopy(first.pod)
    pod["spec"][place] = [container("istio"), *pod["spec"].get(place, [])]
    again = inject(pod)
    assert again.pod == pod
    assert again.warnings == first.warnings


def test_a_pod_without_the_annotation_is_left_alone() -> None:
    for metadata in ({}, {"annotations": None}, {"annotations": {"other": "[]"}}):
        pod = pod_with() | {"metadata": metadata}
        assert inject(pod).pod == pod
        assert response_to(pod) == {"uid": "705ab4f5", "allowed": True}


def test_an_empty_array_changes_nothing() -> None:
    assert response_to(pod_with()) == {"uid": "705ab4f5", "allowed": True}


def test_init_containers_count() -> None:
    result = inject(pod_with(ENTRY | {"container": "init"}, initContainers=[container("init")]))
    assert len(result.pod["spec"]["initContainers"][0]["volumeMounts"]) == 1
    assert result.pod["spec"]["containers"] == [container("main"), container("side")]


def test_containers_share_a_volume_when_only_the_container_differs() -> None:
    spec = inject(pod_with(ENTRY, ENTRY | {"container": "side"})).pod["spec"]
    assert len(spec["volumes"]) == 1
    assert spec["containers"][0]["volumeMounts"] == spec["containers"][1]["volumeMounts"]


def test_one_container_may_have_several_owners() -> None:
    spec = inject(pod_with(ENTRY, ENTRY | {"owner": 1000})).pod["spec"]
    assert len(spec["volumes"]) == 2
    paths = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert paths == ["/tmp/oauthtk_0", "/tmp/oauthtk_1000"]


def _own_volume(pod: Pod) -> None:
    name = inject(pod).pod["spec"]["volumes"][0]["name"]
    pod["spec"]["volumes"] = [{"name": name, "emptyDir": {}}]


def _mount_at(path: str) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        pod["spec"]["containers"][0]["volumeMounts"] = [mounted("own", path)]

    return change


def _device(pod: Pod) -> None:
    device = {"name": "disk", "devicePath": "/tmp/oauthtk_0"}
    pod["spec"]["containers"][0]["volumeDevices"] = [device]


def _entries(*entries: Any) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        pod["metadata"]["annotations"][KEY] = json.dumps(entries)

    return change


def _lone_with_init(pod: Pod) -> None:
    pod["spec"]["containers"] = [container("other")]
    pod["spec"]["initContainers"] = [container("init")]


def _no_containers(pod: Pod) -> None:
    pod["spec"] = None


@pytest.mark.parametrize(
    ("change", "hints"),
    [
        pytest.param(_own_volume, ["oauth2-50d83a19b6"], id="own volume of our name"),
        pytest.param(_mount_at("/tmp/oauthtk_0"), ['"main"', "/tmp/oauthtk_0"], id="path taken"),
        pytest.param(
            _mount_at("//tmp/./oauthtk_0/"), ["/tmp/oauthtk_0"], id="path taken, spelt oddly"
        ),
        pytest.param(_mount_at("tmp/oauthtk_0"), ["/tmp/oauthtk_0"], id="path taken, relative"),
        pytest.param(
            _entries(ENTRY, ENTRY | {"secretName": "b"}), ["entry 1 of 2", "entry 2 of 2"], id="two"
        ),
        pytest.param(_entries(ENTRY, ENTRY), ["entry 1 of 2", "entry 2 of 2"], id="same twice"),
        pytest.param(
            _entries(ENTRY | {"container": "x"}),
            ['"x"', '"main"', '"side"'],
            id="unknown container",
        ),
        pytest.param(
            _lone_with_init, ['"other"', '"init"'], id="lone container beside an init one"
        ),
        pytest.param(_device, ['"main"', "/tmp/oauthtk_0"], id="path taken by a device"),
        pytest.param(_no_containers, ['"main"'], id="no containers"),
        pytest.param(_entries(7), ["entry 1 of 1"], id="entry is no object"),
    ],
)
def test_what_does_not_fit_is_denied(change: Callable[[Pod], None], hints: list[str]) -> None:
    pod = pod_with(ENTRY)
    change(pod)
    (problem,) = problems_of(pod)
    assert [hint for hint in hints if hint not in problem] == []


def test_all_reasons_are_given_at_once() -> None:
    entries = [{}, ENTRY | {"container": "x"}, ENTRY, ENTRY, ENTRY | {"owner": 5}]
    pod = pod_with(*entries)
    _mount_at("/tmp/oauthtk_5")(pod)
    assert len(problems_of(pod)) == 6


def test_a_denial_stays_of_readable_size() -> None:
    pod = pod_with()
    pod["metadata"]["annotations"][KEY] = json.dumps([{"a" * 2000: 0, "owner": "x"}] * 100)
    assert len(response_to(pod)["status"]["message"]) <= 16_384


def _volumes(count: int) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        pod["spec"]["volumes"] = [{"name": f"v{number}"} for number in range(count)]

    return change


def _mounts(count: int) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        pod["spec"]["containers"][0]["volumeMounts"] = [
            {"mountPath": f"/{n}"} for n in range(count)
        ]

    return change


def _devices(count: int) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        devices = [{"devicePath": f"/{number}"} for number in range(count)]
        pod["spec"]["containers"][0]["volumeDevices"] = devices

    return change


def _initial(count: int) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        pod["spec"]["initContainers"] = [{"name": f"i{number}"} for number in range(count)]

    return change


@pytest.mark.parametrize("parts", [_volumes, _mounts, _devices, _initial])
def test_a_pod_that_is_made_to_keep_us_busy_is_denied(
    parts: Callable[[int], Callable[[Pod], None]],
) -> None:
    entries = [ENTRY | {"owner": number} for number in range(100)]
    pod = pod_with(*entries)
    present = len(pod["spec"]["containers"])
    parts(500 - present)(pod)
    assert len(inject(pod).pod["spec"]["volumes"]) >= 100
    parts(501 - present)(pod)
    (problem,) = problems_of(pod)
    assert "50000" in problem


def test_a_volume_of_our_name_that_is_ours_is_kept() -> None:
    pod = inject(pod_with(ENTRY)).pod
    del pod["spec"]["containers"][0]["volumeMounts"]
    spec = inject(pod).pod["spec"]
    assert len(spec["volumes"]) == 1
    assert len(spec["containers"][0]["volumeMounts"]) == 1


TMP = {"name": "tmp", "emptyDir": {}}


@pytest.mark.parametrize(
    ("volume", "mine", "other", "count"),
    [
        pytest.param(TMP, "/tmp", "/scratch", 1, id="shared emptyDir"),
        pytest.param(TMP, "/tmp/", "/tmp", 1, id="shared emptyDir, spelt oddly"),
        pytest.param(TMP, "/tmp", None, 0, id="emptyDir of its own"),
        pytest.param(TMP, "/cache", "/tmp", 0, id="shared elsewhere"),
        pytest.param({"name": "tmp", "hostPath": {"path": "/x"}}, "/tmp", "/tmp", 0, id="host"),
    ],
)
def test_an_emptydir_on_tmp_shared_with_others_is_a_warning(
    volume: dict[str, Any], mine: str, other: str | None, count: int
) -> None:
    side = container("side", mounted("tmp", other)) if other else container("side")
    main = container("main", mounted("tmp", mine))
    warnings = inject(pod_with(ENTRY, volumes=[volume], containers=[main, side])).warnings
    assert len(warnings) == count
    assert all('"main"' in text and '"tmp"' in text for text in warnings)


@pytest.mark.parametrize(
    ("volume", "mount", "count"),
    [
        pytest.param({"emptyDir": {}}, {"readOnly": True}, 1, id="read-only mount"),
        pytest.param({"configMap": {"name": "x"}}, {}, 1, id="config map"),
        pytest.param({"secret": {"secretName": "x"}}, {}, 1, id="secret"),
        pytest.param({"projected": {"sources": []}}, {}, 1, id="projected"),
        pytest.param({"downwardAPI": {}}, {}, 1, id="downward API"),
        pytest.param({"emptyDir": {}}, {"readOnly": False}, 0, id="writable"),
        pytest.param({"emptyDir": {}}, {"readOnly": True, "mountPath": "/x"}, 0, id="elsewhere"),
    ],
)
def test_a_read_only_tmp_is_a_warning(
    volume: dict[str, Any], mount: dict[str, Any], count: int
) -> None:
    main = container("main", mounted("own", "/tmp") | mount)
    pod = pod_with(ENTRY, volumes=[{"name": "own"} | volume], containers=[main])
    warnings = inject(pod).warnings
    assert len(warnings) == count
    assert all("read-only" in text and "oauthtk_0" in text for text in warnings)


def test_unknown_fields_are_warnings() -> None:
    (warning,) = response_to(pod_with(ENTRY | {"templateConfigmap": "x"}))["warnings"]
    assert '"templateConfigMapName"' in warning


def test_warnings_fit_what_the_api_server_passes_on() -> None:
    keys = {"\x7f\n\U0001f600" * n: 0 for n in range(1, 10)}
    warnings = inject(pod_with(ENTRY | keys, ENTRY | keys | {"owner": 1})).warnings
    assert len(warnings) == 16
    assert all(len(text) <= 256 and text.isascii() and text.isprintable() for text in warnings)
    assert "left out" in warnings[-1]


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return change


def _with(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(holder: dict[str, Any]) -> None:
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_without("apiVersion"), id="no version"),
        pytest.param(_with("admission.k8s.io/v1beta1", "apiVersion"), id="old version"),
        pytest.param(_with("Pod", "kind"), id="not a review"),
        pytest.param(_without("request"), id="no request"),
        pytest.param(_with([], "request"), id="request is a list"),
        pytest.param(_without("request", "uid"), id="no uid"),
        pytest.param(_with("", "request", "uid"), id="empty uid"),
        pytest.param(_with("x", "request", "object", "metadata"), id="metadata is text"),
        pytest.param(_with([], "request", "object", "metadata", "annotations"), id="annotations"),
        pytest.param(
            _with(1, "request", "object", "metadata", "annotations", KEY), id="annotation"
        ),
        pytest.param(_with([], "request", "object", "spec"), id="spec is a list"),
        pytest.param(_with({}, "request", "object", "spec", "containers"), id="containers"),
        pytest.param(_with([1], "request", "object", "spec", "volumes"), id="volumes"),
    ],
)
def test_a_malformed_review_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    request = review_of(pod_with(ENTRY))
    review(request)
    change(request)
    with pytest.raises(InvalidRequest):
        review(request)


def test_all_faults_of_a_review_are_reported() -> None:
    with pytest.raises(InvalidRequest) as caught:
        review({})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_with(None, "request", "object"), id="no object (DELETE)"),
        pytest.param(_with("Deployment", "request", "object", "kind"), id="not a pod"),
        pytest.param(_with("x/v1", "request", "object", "apiVersion"), id="a pod of somebody else"),
        pytest.param(_with("UPDATE", "request", "operation"), id="update"),
        pytest.param(_without("request", "operation"), id="no operation"),
        pytest.param(_with("binding", "request", "subResource"), id="part of a pod"),
    ],
)
def test_what_is_not_the_creation_of_a_pod_is_allowed_with_a_warning(
    change: Callable[[dict[str, Any]], None],
) -> None:
    request = review_of(pod_with(ENTRY))
    change(request)
    response = review(request)["response"]
    assert response["allowed"] is True
    assert "patch" not in response
    (warning,) = response["warnings"]
    assert "rules" in warning


@pytest.mark.parametrize("absent", [None, "missing"])
def test_absent_and_null_arrays_are_added_whole(absent: str | None) -> None:
    pod = pod_with(ENTRY)
    if absent is None:
        pod["spec"]["volumes"] = None
        pod["spec"]["containers"][0]["volumeMounts"] = None
    operations = operations_of(response_to(pod))
    assert {operation["path"] for operation in operations} == {
        "/spec/volumes",
        "/spec/containers/0/volumeMounts",
    }
    assert applied(pod, operations) == inject(pod).pod


def test_present_arrays_are_appended_to() -> None:
    pod = pod_with(ENTRY, volumes=[TMP], containers=[container("main", mounted("tmp", "/x"))])
    assert [operation["path"] for operation in operations_of(response_to(pod))] == [
        "/spec/containers/0/volumeMounts/-",
        "/spec/volumes/-",
    ]


NAMES = st.sampled_from(["a", "b", "c"])
MOUNTS = st.lists(st.sampled_from(["/x", "/tmp", "/tmp/oauthtk_1"]), max_size=2, unique=True)
CONTAINERS = st.builds(
    lambda name, paths: container(name, *[mounted("own", path) for path in paths]), NAMES, MOUNTS
)
ENTRIES = st.fixed_dictionaries(
    {"secretName": NAMES, "container": NAMES, "owner": st.integers(0, 2)},
    optional={"templateConfigMapName": NAMES, "extra": st.none()},
)
PODS = st.builds(
    lambda entries, containers, initial, volumes: pod_with(
        *entries, containers=containers, initContainers=initial, volumes=volumes
    ),
    st.lists(ENTRIES, max_size=3),
    st.lists(CONTAINERS, min_size=1, max_size=3, unique_by=lambda one: str(one["name"])),
    st.lists(st.just(container("init")), max_size=1) | st.none(),
    st.none() | st.just([]) | st.just([TMP]) | st.just([{"name": "own", "emptyDir": {}}]),
)


@given(PODS)
def test_applied_twice_equals_once_and_the_patch_says_the_same(pod: Pod) -> None:
    original = copy.deepcopy(pod)
    try:
        once = inject(pod)
    except InvalidAnnotation:
        assert response_to(pod)["allowed"] is False
        return
    finally:
        assert pod == original
    assert inject(once.pod) == once
    assert applied(pod, operations_of(response_to(pod))) == once.pod
    assert operations_of(response_to(once.pod)) == []


@given(PODS)
def test_containers_not_named_are_untouched(pod: Pod) -> None:
    try:
        after = inject(pod).pod["spec"]
    except InvalidAnnotation:
        return
    named = {entry["container"] for entry in json.loads(pod["metadata"]["annotations"][KEY])}
    lone = len(pod["spec"]["containers"]) == 1
    for before, now in zip(pod["spec"]["containers"], after["containers"], strict=True):
        assert before["name"] in named or lone or before == now
    assert pod["spec"]["initContainers"] == after["initContainers"]


JSON = st.recursive(
    st.none() | st.text(max_size=3) | st.integers(2, 9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a/b", "~", "c"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_patch_makes_any_document_of_any_other(before: Any, after: Any) -> None:
    assert applied(before, patch(before, after)) == after


def test_a_patch_escapes_keys() -> None:
    assert patch({}, {"a/b~c": 1}) == [{"op": "add", "path": "/a~1b~0c", "value": 1}]
