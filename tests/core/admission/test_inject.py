import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from csidriver.core.admission.inject import _INJECTED, inject
from tests.core.admission.pods import ENTRY, EOS, TOKEN_PRINTER, Pod, container, mounted, pod_with
from tests.core.admission.reviews import problems_of, response_to

Change = Callable[[dict[str, Any]], None]


def _in_mount(**fields: Any) -> Change:
    return lambda spec: spec["containers"][0]["volumeMounts"][-1].update(fields)


def _in_volume(**fields: Any) -> Change:
    return lambda spec: spec["volumes"][-1]["csi"].update(fields)


def _reversed(spec: dict[str, Any]) -> None:
    spec["containers"].append(container("added"))
    for items in (spec["volumes"], spec["containers"][0]["volumeMounts"], spec["containers"]):
        items[:] = [dict(reversed(item.items())) for item in reversed(items)]


def _copied_mounts(spec: dict[str, Any]) -> None:
    mounts = spec["containers"][0]["volumeMounts"]
    copy_of = container("copies", *copy.deepcopy(mounts))
    spec["containers"].append(copy_of)
    spec["initContainers"] = [copy_of | {"name": "copies-init"}]


@pytest.mark.parametrize("manifest", [TOKEN_PRINTER, EOS], ids=["named", "slip"])
@pytest.mark.parametrize(
    "decorate",
    [
        pytest.param(_in_mount(mountPropagation="None", added=None), id="fields of the mount"),
        pytest.param(_in_mount(readOnly=False), id="read-only left to the volume"),
        pytest.param(_reversed, id="order"),
        pytest.param(_copied_mounts, id="mounts copied into sidecars"),
    ],
)
def test_what_other_webhooks_add_after_us_stays_and_nothing_is_added_again(
    decorate: Change, manifest: str
) -> None:
    first = inject(yaml.safe_load(manifest))
    pod = copy.deepcopy(first.pod)
    decorate(pod["spec"])
    again = inject(pod)
    assert again.pod == pod
    assert again.warnings == first.warnings


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_in_volume(readOnly=False), id="not read-only"),
        pytest.param(_in_volume(driver="other.example"), id="driver"),
        pytest.param(_in_volume(volumeAttributes={"secretName": "hello-token"}), id="attributes"),
        pytest.param(_in_mount(name="eos"), id="volume of the mount"),
    ],
)
def test_what_has_another_effect_than_ours_is_not_taken_for_ours(change: Change) -> None:
    pod = inject(yaml.safe_load(TOKEN_PRINTER)).pod
    change(pod["spec"])
    (problem,) = problems_of(pod)
    assert "another volume" in problem or "a mount of its own" in problem


@pytest.mark.parametrize("initial", [True, False], ids=["before the pod starts", "beside"])
def test_the_slip_is_forgiven_beside_what_other_webhooks_injected_before_us(
    *, initial: bool
) -> None:
    pod = yaml.safe_load(EOS)
    alone = inject(pod)
    added = [container(name) for name in _INJECTED]
    pod["spec"]["initContainers"] = added if initial else []
    pod["spec"]["containers"] = [*([] if initial else added), *pod["spec"]["containers"]]
    done = inject(pod)
    assert done.pod["spec"]["containers"][-1] == alone.pod["spec"]["containers"][0]
    assert done.pod["spec"]["initContainers"] == pod["spec"]["initContainers"]
    assert done.warnings == alone.warnings
    assert inject(done.pod) == done


def test_a_pod_without_the_annotation_is_left_alone() -> None:
    for metadata in ({}, {"annotations": None}, {"annotations": {"other": "[]"}}):
        pod = pod_with() | {"metadata": metadata}
        assert inject(pod).pod == pod
        assert response_to(pod) == {"uid": "705ab4f5", "allowed": True}


def test_containers_share_a_volume_when_only_the_container_differs() -> None:
    entries = [ENTRY, ENTRY | {"container": "init"}]
    spec = inject(pod_with(*entries, initContainers=[container("init")])).pod["spec"]
    assert len(spec["volumes"]) == 1
    assert spec["containers"][0]["volumeMounts"] == spec["initContainers"][0]["volumeMounts"]
    assert spec["containers"][1] == container("side")


TAKEN = "/tmp/oauthtk_0"


def _main(**fields: Any) -> dict[str, Any]:
    return {"containers": [container("main") | fields, container("side")]}


@pytest.mark.parametrize(
    ("entries", "spec", "hints"),
    [
        pytest.param(
            [ENTRY],
            {"volumes": [{"name": "oauth2-50d83a19b6", "emptyDir": {}}]},
            ["oauth2-50d83a19b6"],
            id="volume of our name",
        ),
        *(
            pytest.param(
                [ENTRY], _main(volumeMounts=[mounted("own", path)]), ['"main"', TAKEN], id=path
            )
            for path in (TAKEN, "//tmp/./oauthtk_0/", "tmp/oauthtk_0")
        ),
        pytest.param(
            [ENTRY],
            _main(volumeDevices=[{"name": "disk", "devicePath": TAKEN}]),
            ['"main"', TAKEN],
            id="device",
        ),
        pytest.param([ENTRY, ENTRY], {}, ["entry 1 of 2", "entry 2 of 2"], id="twice"),
        pytest.param(
            [ENTRY | {"container": "x"}], {}, ['"x"', '"main"', '"side"'], id="unknown container"
        ),
        pytest.param(
            [ENTRY],
            {"containers": [container("other")], "initContainers": [container("init")]},
            ['"other"', '"init"'],
            id="lone container beside an init one",
        ),
        pytest.param(
            [ENTRY],
            {"containers": [container("istio-proxy")], "initContainers": [container("setup")]},
            ['"istio-proxy"'],
            id="an init container is never the only one",
        ),
        pytest.param(
            [ENTRY],
            {"containers": [container(name) for name in ("other", "istio-proxy", "helper")]},
            ['"other"', '"helper"'],
            id="one that nobody is known to inject",
        ),
    ],
)
def test_what_does_not_fit_is_denied(
    entries: list[Any], spec: dict[str, Any], hints: list[str]
) -> None:
    (problem,) = problems_of(pod_with(*entries, **spec))
    assert [hint for hint in hints if hint not in problem] == []


def test_all_reasons_are_given_at_once() -> None:
    """An entry that is wrong in itself is told its unknown container as well."""
    wrong = [ENTRY | {"owner": "0", "container": name} for name in ("main", "init", "x")]
    entries = [{}, *wrong, ENTRY | {"container": "x"}, ENTRY, ENTRY, ENTRY | {"owner": 5}]
    spec = _main(volumeMounts=[mounted("own", "/tmp/oauthtk_5")])
    problems = problems_of(pod_with(*entries, **spec, initContainers=[container("init")]))
    assert len(problems) == 9
    assert any(
        problem.startswith('entry 4 of 8: the pod has no container "x"') for problem in problems
    )


@pytest.mark.parametrize("parts", ["volumes", "volumeMounts", "volumeDevices", "initContainers"])
def test_a_pod_that_is_made_to_keep_us_busy_is_denied(parts: str) -> None:
    entries = [ENTRY | {"owner": number} for number in range(100)]

    def pod_of(total: int) -> Pod:
        pod = pod_with(*entries)
        spec = pod["spec"]
        holder = spec["containers"][0] if parts in ("volumeMounts", "volumeDevices") else spec
        holder[parts] = [{"name": f"v{n}", "mountPath": f"/{n}"} for n in range(total - 2)]
        return pod

    assert len(inject(pod_of(500)).pod["spec"]["volumes"]) >= 100
    (problem,) = problems_of(pod_of(501))
    assert "50000" in problem


def test_a_path_that_linux_does_not_take_is_a_denial() -> None:
    def pod_of(length: int) -> Pod:
        return pod_with(ENTRY, containers=[container("main", mounted("own", "/" + "a" * length))])

    assert inject(pod_of(4094)).pod
    (problem,) = problems_of(pod_of(4095))
    assert "4096 characters" in problem


def test_a_pod_without_a_spec_is_denied() -> None:
    (problem,) = problems_of(pod_with(ENTRY) | {"spec": None})
    assert '"main"' in problem


def test_warnings_fit_what_the_api_server_passes_on() -> None:
    keys = {"\x7f\n\U0001f600" * n: 0 for n in range(1, 10)}
    warnings = inject(pod_with(ENTRY | keys, ENTRY | keys | {"owner": 1})).warnings
    assert len(warnings) == 16
    assert all(len(text) <= 256 and text.isascii() and text.isprintable() for text in warnings)
    assert "left out" in warnings[-1]
