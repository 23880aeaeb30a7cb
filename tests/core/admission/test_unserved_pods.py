import copy
from typing import Any

import pytest

from csidriver.core.admission.inject import inject
from tests.core.admission.pods import ENTRY, KEY, as_mirror, pod_with
from tests.core.admission.reviews import problems_of, response_to


def affinity(*terms: list[dict[str, Any]]) -> dict[str, Any]:
    """A required affinity to nodes that match one of the terms."""
    found = {"nodeSelectorTerms": [{"matchExpressions": each} for each in terms]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": found}}}


def one_of(key: str, *values: str, operator: str = "In") -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


OS, ZONE = "kubernetes.io/os", one_of("topology.kubernetes.io/zone", "a", "b")
FARGATE = "eks.amazonaws.com/compute-type"
REFUSED = [
    *({"os": {"name": "windows"}}, {"nodeSelector": {OS: "windows"}}),
    {"nodeSelector": {f"beta.{OS}": "windows"}},
    affinity([ZONE, one_of(OS, "windows")], [one_of(OS, "windows")]),
    *({"schedulerName": "fargate-scheduler"}, {"nodeSelector": {FARGATE: "fargate"}}),
    affinity([one_of(FARGATE, "fargate")]),
]
VIRTUAL = {"nodeSelector": {"type": "virtual-kubelet", "kubernetes.io/role": "agent"}}


@pytest.mark.parametrize("spec", REFUSED)
def test_a_pod_that_no_node_plugin_can_serve_is_denied_with_the_reason(
    spec: dict[str, Any],
) -> None:
    (problem,) = problems_of(pod_with(ENTRY, **spec))
    is_windows = "windows" in str(spec)
    assert ("is windows: the driver runs on Linux nodes only" in problem) is is_windows
    assert ("Fargate runs no DaemonSets" in problem) is not is_windows
    assert inject(pod_with(**spec)).warnings == (), "it asks for no token"


def test_a_pod_for_a_virtual_node_is_injected_with_a_warning() -> None:
    plain, pod = inject(pod_with(ENTRY)), inject(pod_with(ENTRY, **VIRTUAL))
    (warning,) = pod.warnings
    assert "virtual node runs no DaemonSets" in warning
    assert len(warning) <= 256
    assert pod.pod["spec"] == plain.pod["spec"] | VIRTUAL
    assert inject(pod.pod) == pod


@pytest.mark.parametrize(
    "spec",
    [
        {"os": {"name": "linux"}, "nodeSelector": {"kubernetes.io/os": "linux"}},
        {"os": None, "nodeSelector": None, "schedulerName": None, "affinity": None},
        affinity(),
        affinity([one_of(OS, "windows")], [ZONE]),
        affinity([one_of(OS, "windows", operator="NotIn")]),
        {"affinity": {"podAffinity": {}, "nodeAffinity": {}}},
    ],
)
def test_other_pods_are_served(spec: dict[str, Any]) -> None:
    injection = inject(pod_with(ENTRY, **spec))
    assert injection.warnings == ()
    assert len(injection.pod["spec"]["volumes"]) == 1


@pytest.mark.parametrize("annotation", ["[]", "broken"])
def test_the_mirror_of_a_static_pod_is_admitted_as_it_is_with_a_warning(annotation: str) -> None:
    pod = as_mirror(pod_with(ENTRY, os={"name": "windows"}))
    pod["metadata"]["annotations"][KEY] = annotation
    before = copy.deepcopy(pod)
    response = response_to(pod)
    assert (response["allowed"], "patch" in response) == (True, False)
    (warning,) = response["warnings"]
    assert "static pod" in warning
    assert inject(pod).pod == before
