"""What drivers of this kind have stumbled over, as `docs/evidence/edge-cases.md` lists it."""

import os
import re
import shutil
import stat
from pathlib import Path

import grpc
import pytest

from csidriver.demo.kubelet import PUBLISH_TIMEOUT
from csidriver.node import tokenfile
from csidriver.node.publish_wait import PublishWaitLimiter
from csidriver.node.token_fs import DATA_FOLDER
from tests.node.plugin import Node, ShiftedClock, names
from tests.waiting import until

mounts = pytest.mark.mounts

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs/evidence/edge-cases.md"
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_edge_case_is_proved_or_says_why_it_cannot_happen() -> None:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    assert len(lines) >= 41
    for line in lines[2:]:
        case, answer, proof = [cell.strip() for cell in line.strip("|").split("|")]
        assert case
        assert answer
        assert REFERENCE.search(proof) or proof.startswith("does not apply: "), case


@mounts
def test_a_mount_without_content_is_not_taken_for_a_published_volume(published: Node) -> None:
    published.stop()
    (published.folder() / "volume.json").unlink()
    (published.folder() / DATA_FOLDER / "token").unlink()
    published.start()
    assert names(published.target()) == []
    published.publish(published.request())
    assert published.content() == "at-1"
    assert len(published.mounts_at()) == 1


@mounts
@pytest.mark.parametrize("restarted", [False, True])
def test_a_mount_of_a_folder_that_is_gone_is_never_called_good(
    published: Node, *, restarted: bool
) -> None:
    if restarted:
        published.stop()
    shutil.rmtree(published.folder())
    if restarted:
        published.start()
    for _ in range(2):
        code, text = published.refused(published.request())
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "delete the pod" in text
    assert published.metric("oauth2_csi_node_outdated_volumes") == (not restarted)
    published.unpublish()
    until(published.nothing_left, "the end of all")
    published.publish(published.request())
    assert published.content() == "at-1"


def test_the_longest_wait_leaves_time_to_tell_kubelet_the_reason() -> None:
    limiter = PublishWaitLimiter(10 * PUBLISH_TIMEOUT, 1, ShiftedClock())
    for _ in range(10):
        with limiter.allowed_wait("csi-v1") as seconds:
            assert 0 < seconds <= PUBLISH_TIMEOUT - 30


def test_a_file_has_its_owner_and_mode_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, done = tmp_path / "token", []
    for name in ("fchown", "fchmod"):
        monkeypatch.setattr(os, name, lambda *_, name=name: done.append((name, file.exists())))
    tokenfile.create(file, b"at-1", uid=0, gid=0, mode=0o440)
    assert sorted(done) == [("fchmod", False), ("fchown", False)]
    monkeypatch.undo()
    # Until then nobody else could read it.
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
