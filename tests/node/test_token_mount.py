"""Somebody unmounts, covers or remounts the token file system or its view."""

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from csidriver.adapters.mounts import Mounts
from csidriver.core.status import Status
from csidriver.errors import MountFailed
from tests.node.inotify import CREATE, MODIFY, MOVED_TO, Inotify
from tests.node.plugin import Node, companion, make_read_only, names, sub_path_mount
from tests.waiting import until

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode
Sabotage = Callable[[Node], object]


def unmount(node: Node) -> None:
    while node.mounts.unmount(node.token_folder):
        pass


def cover_by_tmpfs(node: Node) -> None:
    node.mounts.mount_tmpfs(node.token_folder, size=1 << 20, inodes=100)


def cover_by_folder(node: Node) -> None:
    node.mounts.bind(node.root, node.token_folder)


def remove_folder(node: Node) -> None:
    unmount(node)
    node.token_folder.rmdir()


def cover_view(node: Node) -> None:
    node.mounts.mount_tmpfs(node.settings.view, size=1 << 20, inodes=100)


def unmount_all(node: Node) -> None:
    """As scripts do that unmount everything below kubelet's folder."""
    for mount in reversed(node.mounts.table()):
        if mount.target.startswith((f"{node.kubelet_dir}/", str(node.settings.view))):
            node.mounts.unmount(Path(mount.target))


def remount_read_only(node: Node) -> None:
    make_read_only(node.token_folder)


every_sabotage = pytest.mark.parametrize(
    "sabotage", [cover_by_folder, remove_folder, cover_view, unmount_all, remount_read_only]
)


def held_mounts(node: Node) -> list[Path]:
    """The files of a container that has a directory mount and a subPath mount."""
    whole = node.root / "container"
    whole.mkdir()
    node.mounts.bind(node.target(), whole)
    node.mounts.make_private(whole)
    return [whole / "token", sub_path_mount(node)]


def reads(files: list[Path]) -> set[str]:
    return {file.read_text(encoding="utf-8") for file in files}


def is_whole(node: Node) -> bool:
    """Return True with one mount of one tmpfs in each of the two places, and room to write."""
    places = (node.token_folder, node.settings.view)
    mounts = [mount for place in places for mount in node.mounts_at(place)]
    return (
        len(mounts) == 2
        and {(m.fs_type, m.root) for m in mounts} == {("tmpfs", "/")}
        and len({place.stat().st_dev for place in places}) == 1
        and not os.statvfs(node.token_folder).f_flag & os.ST_RDONLY
        and bool(os.statvfs(node.settings.view).f_flag & os.ST_RDONLY)
    )


@every_sabotage
def test_a_loss_is_mended_within_seconds_and_no_container_notices(
    published: Node, sabotage: Sabotage, caplog: pytest.LogCaptureFixture
) -> None:
    files = held_mounts(published)
    inodes = [file.stat().st_ino for file in files]
    sabotage(published)
    assert not is_whole(published)
    until(lambda: "mended: " in caplog.text, "the repair", 8)
    assert is_whole(published)
    published.publish(published.request())
    published.publish(published.request("v2"))
    files += [published.file(), published.file("v2")]
    published.write_token("at-2", 2)
    until(lambda: reads(files) == {"at-2"}, "the rotation")
    assert [file.stat().st_ino for file in files[:2]] == inodes
    published.stop()
    published.write_token("at-3", 3)
    published.start()
    until(lambda: reads(files) == {"at-3"}, "the rotation after a restart")
    published.unpublish()
    published.unpublish("v2")
    assert names(published.token_folder) == []
    assert not published.target().exists()


@pytest.mark.parametrize("sabotage", [cover_by_folder, unmount_all])
def test_a_call_does_not_wait_for_the_repair(
    stopped_node: Node, sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = stopped_node
    monkeypatch.setattr("csidriver.node.plugin.CHECK_EVERY", 600.0)
    node.start()
    node.write_token("at-1")
    node.publish(node.request())
    files = held_mounts(node)
    for volume in ("v2", "v1"):
        sabotage(node)
        node.publish(node.request(volume))
        assert node.content(volume) == "at-1"
        assert is_whole(node)
        assert reads(files) == {"at-1"}
    node.unpublish("v2")
    sabotage(node)
    node.unpublish()
    # The containers' mounts stay, empty.
    assert files[1].read_text(encoding="utf-8") == ""
    until(node.nothing_left, "the end of all")


class Unwilling(Mounts):
    """Mounts that a kernel refuses to mend, while `refuses`."""

    refuses = False

    def attach(self, clone: int, target: Path) -> None:
        self._check(target)
        super().attach(clone, target)

    def unmount(self, target: Path) -> bool:
        if threading.current_thread() is not threading.main_thread():
            self._check(target)
        return super().unmount(target)

    def make_writable(self, target: Path) -> None:
        self._check(target)
        super().make_writable(target)

    def _check(self, target: Path) -> None:
        if self.refuses:
            raise MountFailed("mount", str(target), "the test does not want it")


@every_sabotage
def test_what_cannot_be_mended_is_reported_and_nothing_is_written_in_its_place(
    stopped_node: Node,
    sabotage: Sabotage,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("csidriver.node.plugin.CHECK_EVERY", 0.02)
    node, unwilling = stopped_node, Unwilling()
    node.mounts = unwilling
    node.start()
    node.write_token("at-1")
    node.publish(node.request())
    unwilling.refuses = True
    plugin, files = node.plugin, held_mounts(node)
    plugin._registration.problems = []
    assert plugin.alive() == plugin.ready() == []
    sabotage(node)
    problems = plugin.alive()
    assert problems
    assert plugin.ready() == problems
    place = node.settings.view if sabotage is cover_view else node.token_folder
    place.mkdir(exist_ok=True)
    with Inotify(place, CREATE | MOVED_TO | MODIFY) as events:
        until(lambda: "cannot mend" in caplog.text, "a try")
        with contextlib.suppress(grpc.RpcError):
            node.publish(node.request("v2"))
        node.write_token("at-2", 2)
        # Files that exist still get their tokens, where the kernel lets them.
        expected = {"at-1"} if sabotage is remount_read_only else {"at-2"}
        until(lambda: reads(files) == expected, "the rotation")
        assert not any(mask & (CREATE | MOVED_TO | MODIFY) for mask in events.read())
    assert plugin.alive() == problems
    unwilling.refuses = False
    until(lambda: plugin.alive() == plugin.ready() == [], "the repair")
    node.publish(node.request("v2"))
    node.write_token("at-3", 3)
    until(lambda: reads([*files, node.file("v2")]) == {"at-3"}, "the rotation", 20)


class UnmountedAtOnce(Mounts):
    def mount_tmpfs(self, target: Path, *, size: int, inodes: int, context: str = "") -> None:
        super().mount_tmpfs(target, size=size, inodes=inodes, context=context)
        self.unmount(target)


def test_a_start_whose_mount_is_undone_at_once_ends(stopped_node: Node) -> None:
    stopped_node.mounts = UnmountedAtOnce()
    with pytest.raises(MountFailed, match="unmounted or covered meanwhile"):
        stopped_node.start()


@pytest.mark.parametrize("sabotage", [cover_by_tmpfs, cover_by_folder, remount_read_only])
def test_a_start_takes_away_what_covers_the_token_file_system(
    published: Node, sabotage: Sabotage
) -> None:
    files = held_mounts(published)
    published.stop()
    sabotage(published)
    published.write_token("at-2", 2)
    published.start()
    assert is_whole(published)
    until(lambda: reads([*files, published.file()]) == {"at-2"}, "the rotation")
    published.publish(published.request())


def test_a_volume_whose_file_system_was_lost_without_a_plugin_says_so_until_its_end(
    published: Node,
) -> None:
    """A container keeps the mount of the old file system, and no new one reaches it."""
    node, outdated = published, "oauth2_csi_node_outdated_volumes"
    files = held_mounts(node)
    node.stop()
    unmount(node)
    # Kubelets remove the folder of a running pod after a final code.
    node.write_companion(companion(None, 2, status=Status.INVALID))
    node.start()
    assert is_whole(node)
    code, text = node.refused(node.request())
    assert (code, "is Invalid" in text) == (Code.UNAVAILABLE, True)
    assert node.refused(node.request("v2"))[0] is Code.FAILED_PRECONDITION
    for generation in (3, 4):
        node.write_token(f"at-{generation}", generation)
        until(lambda: "delete the pod" in node.refused(node.request())[1], "the new companion")
        assert node.refused(node.request())[0] is Code.UNAVAILABLE
        until(lambda g=generation: node.content() == f"at-{g}", "the rotation")  # type: ignore[misc]
        assert node.metric(outdated) == 1
        assert reads(files) == {"at-1"}
        node.publish(node.request("v2"))
        node.stop()
        node.start()
    node.unpublish()
    assert not node.target().exists()
    assert node.metric(outdated) == 0
    node.publish(node.request())
