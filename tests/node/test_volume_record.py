import stat
from dataclasses import replace
from pathlib import Path

import pytest

from csidriver.config import NodeLimits
from csidriver.core.volume.attributes import VolumeAttributes
from csidriver.core.volume.template import MAX_CONTENT, Template
from csidriver.errors import LimitReached
from csidriver.node.volume_record import VolumeRecord, check_limits
from tests.node.plugin import names

ATTRIBUTES = VolumeAttributes(
    secret_name="hello-token",
    file_name="token",
    owner=1001,
    group=2002,
    mode=0o440,
    template=Template.parse("$$ $(ACCESS_TOKEN) \u20ac\n"),
    template_config_map="shape",
    min_validity=30.0,
)
RECORD = VolumeRecord("csi-1", "/pods/x/mount", "alice", "pod-1", "uid-1", ATTRIBUTES)


PLAIN = replace(RECORD, attributes=replace(ATTRIBUTES, min_validity=None, template_config_map=""))
# An earlier release allowed larger templates.
LARGE = replace(ATTRIBUTES, template=Template.parse("x" * MAX_CONTENT, MAX_CONTENT))


@pytest.mark.parametrize("record", [RECORD, PLAIN, replace(RECORD, attributes=LARGE)])
def test_a_record_is_read_back_as_it_was_written(tmp_path: Path, record: VolumeRecord) -> None:
    record.save(tmp_path)
    assert VolumeRecord.load(tmp_path) == record


def test_a_record_is_one_file_for_root_alone(tmp_path: Path) -> None:
    for _ in range(2):
        RECORD.save(tmp_path)
    assert names(tmp_path) == ["volume.json"]
    assert stat.S_IMODE((tmp_path / "volume.json").stat().st_mode) == 0o600


def other(number: int, **changes: str) -> VolumeRecord:
    """A volume of another pod, namespace and Secret, but for the changes."""
    secret = changes.pop("secret_name", f"token-{number}")
    fields = {"namespace": f"ns-{number}", "pod_uid": f"uid-of-{number}"} | changes
    attributes = replace(ATTRIBUTES, secret_name=secret)
    return replace(RECORD, volume_id=f"v{number}", attributes=attributes, **fields)


WIDE = NodeLimits(9, 9, 9, 9, 9)
IN_NAMESPACE = {"namespace": "alice"}
OF_SECRET = {**IN_NAMESPACE, "secret_name": "hello-token"}


@pytest.mark.parametrize(
    ("limit", "shared", "who"),
    [
        ("volumes_per_pod", {**OF_SECRET, "pod_uid": "uid-1"}, "pod pod-1 has 2 volumes"),
        ("volumes_per_namespace", OF_SECRET, "namespace alice has 2 volumes"),
        ("volumes_per_node", {}, "this node has 2 volumes"),
        ("secrets_per_namespace", IN_NAMESPACE, "namespace alice has 2 Secrets with volumes"),
        ("secrets_per_node", {}, "this node has 2 Secrets with volumes"),
    ],
)
def test_each_limit_is_named(limit: str, shared: dict[str, str], who: str) -> None:
    limits = replace(WIDE, **{limit: 2})
    others = [other(number, **shared) for number in range(2)]
    elsewhere = other(3, pod_uid="uid-1", secret_name="hello-token")
    check_limits(RECORD, [others[0], *([elsewhere] if shared else [])], limits)
    if limit.startswith("secrets"):  # one more volume of a Secret that is there is no new Secret
        check_limits(RECORD, [others[0], other(4, **OF_SECRET)], limits)
    with pytest.raises(LimitReached) as caught:
        check_limits(RECORD, others, limits)
    flag = f"--{limit.replace('_', '-')}"
    assert str(caught.value) == f"{who} here, as many as it may; see {flag}"
