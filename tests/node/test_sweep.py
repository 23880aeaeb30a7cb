"""The search for folders that crashes have left behind."""

import pytest

from tests.node.plugin import Node, eventually

pytestmark = pytest.mark.mounts


def test_folders_that_belong_to_nothing_are_swept_at_start(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request("kept"))
    node.stop()
    orphan = node.token_folder / ("0" * 32)
    (orphan / "data").mkdir(parents=True)
    (orphan / "data" / "token").write_text("a token of a publish that was cut off")
    node.start()
    eventually(lambda: not orphan.exists(), "the sweep")
    assert node.content("kept") == "at-1"
    node.unpublish("kept")
    assert node.nothing_left()


def test_a_mounted_folder_without_a_record_is_not_swept(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    node.stop()
    (node.folder() / "volume.json").unlink()
    node.start()
    orphan = node.token_folder / ("0" * 32)
    orphan.mkdir()
    node.stop()
    node.start()
    eventually(lambda: not orphan.exists(), "the sweep")
    assert node.content() == "at-1"
    node.unpublish()
    assert node.nothing_left()
