from typing import Any

import pytest
from kubernetes.client import models

from csidriver.core.admission.inject import inject
from csidriver.core.names import DRIVER_NAME
from tests.core.admission.pods import ENTRY, TMP, container, mounted, pod_with

# Every kind of volume source in the API, and whether it has a field `readOnly`.
SOURCES = {
    models.V1Volume.attribute_map[field]: "readOnly"
    in getattr(models, model).attribute_map.values()
    for field, model in models.V1Volume.openapi_types.items()
    if field != "name"
}
READ_ONLY = {"configMap", "downwardAPI", "image", "projected", "secret"}
POD_LOCAL = {"emptyDir", "ephemeral", "gitRepo"}


def warnings_for(source: dict[str, Any], **mount: Any) -> tuple[str, ...]:
    """The warnings for a volume that one container of two has on /tmp."""
    main = container("main", mounted("own", "/tmp") | mount)
    pod = pod_with(ENTRY, volumes=[{"name": "own"} | source], containers=[main, container("side")])
    warnings = inject(pod).warnings
    assert all('"main"' in text and '"own"' in text and "oauthtk_0" in text for text in warnings)
    return warnings


def test_a_tmp_that_is_read_only_is_a_warning() -> None:
    sources: list[dict[str, Any]] = [{kind: {}} for kind in READ_ONLY]
    sources += [{kind: {"readOnly": True}} for kind, can_be in SOURCES.items() if can_be]
    sources.append({"csi": {"driver": DRIVER_NAME}})
    found = [warnings_for(source) for source in sources]
    found += [warnings_for({kind: {}}, readOnly=True) for kind in SOURCES]
    assert all("read-only" in warning for (warning,) in found)
    assert len(found) > 35


def test_a_tmp_that_outlives_the_pod_or_is_seen_by_others_is_a_warning() -> None:
    others = SOURCES.keys() - READ_ONLY - POD_LOCAL
    found = [warnings_for({kind: {"readOnly": False}}) for kind in others]
    assert all("other pods" in warning for (warning,) in found)
    assert len(found) > 20


def test_a_tmp_of_the_container_alone_and_a_folder_elsewhere_are_no_warning() -> None:
    alone: list[dict[str, Any]] = [*({kind: {}} for kind in POD_LOCAL), {}]
    found = [warnings_for(source, readOnly=False) for source in alone]
    for path in ("/x", "/tmp/cache"):
        found += [warnings_for({kind: {"readOnly": True}}, mountPath=path) for kind in SOURCES]
    assert set(found) == {()}


@pytest.mark.parametrize("kind", sorted(POD_LOCAL))
@pytest.mark.parametrize(
    ("mine", "other", "count"),
    [
        pytest.param("/tmp", "/scratch", 1, id="shared"),
        pytest.param("/cache", "/tmp", 0, id="shared elsewhere"),
    ],
)
def test_a_tmp_shared_with_other_containers_is_a_warning(
    kind: str, mine: str, other: str, count: int
) -> None:
    containers = [container("main", mounted("tmp", mine)), container("side", mounted("tmp", other))]
    pod = pod_with(ENTRY, volumes=[{"name": "tmp", kind: {}}], containers=containers)
    warnings = inject(pod).warnings
    assert len(warnings) == count
    assert all('"main"' in text and '"tmp"' in text for text in warnings)
    assert all("other containers" in text for text in warnings)


@pytest.mark.parametrize(
    ("path", "is_below"),
    [
        *(("/tmp/oauthtk_0/sub", True), ("tmp//oauthtk_0/a/b", True)),
        *(("/tmp/oauthtk_00", False), ("/tmp/oauthtk_0.d/x", False)),
    ],
)
def test_a_mount_below_the_file_is_a_warning(path: str, *, is_below: bool) -> None:
    main = container("main", mounted("tmp", path))
    warnings = inject(pod_with(ENTRY, volumes=[TMP], containers=[main])).warnings
    assert len(warnings) == is_below
    for hint in ('"main"', "/tmp/oauthtk_0", "cannot start"):
        assert all(hint in warning for warning in warnings)
