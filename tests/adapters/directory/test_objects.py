from pathlib import Path

import pytest
import yaml

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import STATUS
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreConflict


@pytest.mark.parametrize("last", ["", "{", "[]", "[" * 100_000, '{"metadata": []}'])
def test_apply_does_not_trust_what_is_said_to_have_been_applied(
    store: DirectoryStore, last: str
) -> None:
    key = "kubectl.kubernetes.io/last-applied-configuration"
    store.apply({"kind": "Secret", "metadata": {"name": "x"}}, "ns")
    annotated = {"name": "x", "annotations": {key: last, STATUS: "Valid"}}
    store.replace({"kind": "Secret", "metadata": annotated}, "ns")
    store.apply({"kind": "Secret", "metadata": {"name": "x"}, "data": {"oauth": "YQ=="}}, "ns")
    after = store.get_secret("ns", "x")
    assert after is not None
    assert (after.annotations, after.data) == ({STATUS: "Valid"}, {"oauth": Sensitive("a")})


def test_replace_needs_something_to_replace(store: DirectoryStore) -> None:
    with pytest.raises(StoreConflict):
        store.replace({"kind": "Secret", "metadata": {"name": "x"}}, "ns")


def test_other_kinds_are_kept_too(tmp_path: Path, store: DirectoryStore) -> None:
    pod = {"kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}, "data": [1]}
    store.apply(pod, "ns")
    written = yaml.safe_load((tmp_path / "ns" / "pod.x.yaml").read_text())
    assert (written["spec"], written["data"]) == (pod["spec"], [1])
    store.remove("Pod", "ns", "x")
    assert list((tmp_path / "ns").iterdir()) == []
