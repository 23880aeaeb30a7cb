import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from csidriver.core.names import SourceRef
from csidriver.core.volume.attributes import VolumeAttributes
from csidriver.core.volume.template import Template
from csidriver.errors import TokenFileFailed
from csidriver.node.volume_record import VolumeRecord
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


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, attributes=replace(ATTRIBUTES, min_validity=None, template_config_map="")),
    ],
)
def test_a_record_is_read_back_as_it_was_written(tmp_path: Path, record: VolumeRecord) -> None:
    record.save(tmp_path)
    assert VolumeRecord.load(tmp_path) == record


def test_a_record_is_one_file_for_root_alone(tmp_path: Path) -> None:
    for _ in range(2):
        RECORD.save(tmp_path)
    assert names(tmp_path) == ["volume.json"]
    assert stat.S_IMODE((tmp_path / "volume.json").stat().st_mode) == 0o600


def test_a_record_says_its_version(tmp_path: Path) -> None:
    RECORD.save(tmp_path)
    content = json.loads((tmp_path / "volume.json").read_text(encoding="utf-8"))
    assert content["version"] == 1


def test_a_record_names_its_source() -> None:
    assert RECORD.source == SourceRef("alice", "hello-token")


def test_a_record_that_cannot_be_written_or_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TokenFileFailed):
        RECORD.save(tmp_path / "none")
    with pytest.raises(TokenFileFailed):
        VolumeRecord.load(tmp_path)
