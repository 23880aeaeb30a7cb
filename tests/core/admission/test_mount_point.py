from typing import Any

import pytest

from csidriver.core.admission.inject import inject
from tests.core.admission.pods import ENTRY, TMP, container, mounted, pod_with


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
