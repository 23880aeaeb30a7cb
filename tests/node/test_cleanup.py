import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from csidriver.config import CleanupSettings
from csidriver.core import names
from csidriver.errors import CleanupRefused
from csidriver.node.cleanup import Cleanup
from csidriver.node.token_fs import DATA_FOLDER
from tests.node.plugin import Node

pytestmark = pytest.mark.mounts

OURS = names.DRIVER_NAME
NOTHING = "nothing of the driver is left here"


@pytest.fixture
def used(node: Node) -> Node:
    """The plugin was killed; a pod has the volumes v1 and v2, and a subPath mount of v1."""
    node.write_token("at-1")
    for volume in ("v1", "v2"):
        node.publish(node.request(volume))
        vol_data(node, volume)
    sub_path(node).parent.mkdir(parents=True)
    sub_path(node).touch()
    node.mounts.bind(node.file(), sub_path(node))
    node.stop()
    node.mounts.bind_read_only(node.token_folder, node.settings.view)
    for path in (node.registration, node.socket):
        stale(path)
    return node


@pytest.fixture
def rebooted(used: Node) -> Node:
    """Mounts are gone, and what kubelet had mounted; what is on disk stays."""
    for target, _ in reversed(mounted(used)):
        used.mounts.unmount(Path(target))
    sub_path(used).unlink()
    return used


def vol_data(node: Node, volume: str, content: object = None) -> Path:
    """What kubelet notes beside a target."""
    path = node.target(volume).with_name("vol_data.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content or {"driverName": OURS})
    path.write_text(text, encoding="utf-8")
    return path


def sub_path(node: Node) -> Path:
    return node.kubelet_dir / "pods/uid-1/volume-subpaths/v1/main/0"


def stale(path: Path) -> None:
    """A socket that nobody serves."""
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))


def cleaned(node: Node, *, force: bool = True) -> tuple[list[str], list[str]]:
    """Problems, and what was said."""
    settings = CleanupSettings(
        kubelet_dir=node.settings.kubelet_dir, view=node.settings.view, force=force
    )
    said: list[str] = []
    return Cleanup(settings, node.mounts, said.append).run(), said


def mounted(node: Node) -> list[tuple[str, str]]:
    """Everything that is mounted on the node, but for kubelet's own folder."""
    places = [(mount.target, mount.root) for mount in node.mounts.table()]
    below = [place for place in places if Path(place[0]).is_relative_to(node.root)]
    return [place for place in below if place[0] != str(node.kubelet_dir)]


def present(node: Node) -> dict[str, bytes | None]:
    """Everything below kubelet's folder and the view, with what is in it."""
    found = [*node.kubelet_dir.rglob("*"), *node.settings.view.rglob("*"), node.settings.view]
    return {
        str(path.relative_to(node.root)): path.read_bytes() if path.is_file() else None
        for path in found
        if path.exists()
    }


def assert_clean(node: Node) -> None:
    """Assert that nothing is mounted, and of kubelet's folder only its own things are left."""
    csi = "k/pods/uid-1/volumes/kubernetes.io~csi"
    volumes = {f"{csi}/{v}{note}" for v in ("v1", "v2") for note in ("", "/vol_data.json")}
    folders = {"k/pods", "k/plugins", "k/plugins_registry", "k/pods/uid-1", csi}
    parts = {str(path.relative_to(node.root)) for path in sub_path(node).parents[:3]}
    assert mounted(node) == []
    assert set(present(node)) == volumes | folders | parts | {"k/pods/uid-1/volumes"}


def foreign(node: Node, target: Path) -> Path:
    """Something precious of another file system than ours, on a target; it shows this file."""
    source = node.root / "foreign"
    source.mkdir(exist_ok=True)
    (source / "precious").write_bytes(b"theirs")
    node.mounts.bind(source, target)
    return target / "precious"


def test_it_says_what_it_removes_in_which_order_and_may_be_repeated(used: Node) -> None:
    """Kubelet is told first, and no token is left in what a container may still have."""
    tokens = {f"erased {used.folder(v) / DATA_FOLDER / 'token'}" for v in ("v1", "v2")}
    container = used.root / "container"
    container.touch()
    used.mounts.bind(used.file(), container)
    said = cleaned(used)[1]
    assert container.read_bytes() == b""
    assert said[:2] == [f"removed {used.registration}", f"removed {used.socket}"]
    assert set(said[2:4]) == tokens
    hidden = [sub_path(used), used.target("v2"), used.target()]
    ends = [used.settings.view, used.token_folder]
    rest = [f"{did} {path}" for path in hidden + ends for did in ("unmounted", "removed")]
    assert said[4:] == [*rest, f"removed {used.settings.plugin_dir}"]
    used.mounts.unmount(container)
    assert_clean(used)
    for force in (False, True):
        assert cleaned(used, force=force) == ([], [NOTHING])


@pytest.mark.parametrize("which", ["socket", "registration"])
def test_it_is_refused_while_a_process_listens(used: Node, which: str) -> None:
    path = getattr(used, which)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen(0)
        before = (mounted(used), present(used))
        with pytest.raises(CleanupRefused, match=f"a node plugin is running.*{path}"):
            cleaned(used)
        assert (mounted(used), present(used)) == before


def test_it_is_refused_while_pods_have_volumes_and_touches_nothing(used: Node) -> None:
    before = (mounted(used), present(used))
    with pytest.raises(CleanupRefused, match="of this driver: alice/pod-1/v1, alice/pod-1/v2; "):
        cleaned(used, force=False)
    assert (mounted(used), present(used)) == before
    (used.folder("v2") / "volume.json").unlink()
    with pytest.raises(CleanupRefused, match=f"{used.target('v2')}, alice/pod-1/v1; "):
        cleaned(used, force=False)
    for volume in ("v1", "v2"):
        used.mounts.unmount(used.target(volume))
    with pytest.raises(CleanupRefused, match="of this driver: alice/pod-1/v1; "):
        cleaned(used, force=False)  # of the subPath mount
    assert sub_path(used).read_bytes() == b"at-1"
    used.mounts.unmount(sub_path(used))
    sub_path(used).unlink()
    assert cleaned(used, force=False)[0] == []
    assert_clean(used)


def test_a_host_that_never_had_the_driver_is_fine(stopped_node: Node) -> None:
    for folder in (stopped_node.kubelet_dir, stopped_node.root / "gone"):
        stopped_node.settings = replace(stopped_node.settings, kubelet_dir=folder)
        assert cleaned(stopped_node, force=False) == ([], [NOTHING])


def test_after_a_reboot_sockets_and_folders_are_removed_but_no_targets_of_others(
    rebooted: Node,
) -> None:
    notes = [{"driverName": "other.csi"}, {"volumeHandle": OURS}, [OURS], "", "[" * 100_000]
    others = [vol_data(rebooted, f"v{number}", note) for number, note in enumerate(notes, 3)]
    for note in others:
        note.with_name("mount").mkdir()
    problems, said = cleaned(rebooted, force=False)
    assert problems == []
    removed = [rebooted.registration, rebooted.socket, rebooted.target(), rebooted.target("v2")]
    removed += [rebooted.settings.view, rebooted.token_folder, rebooted.settings.plugin_dir]
    assert sorted(said) == sorted(f"removed {path}" for path in removed)
    for note in others:
        assert note.with_name("mount").exists()
        shutil.rmtree(note.parent)
    assert_clean(rebooted)


@pytest.mark.parametrize("gone", [False, True])
def test_volumes_are_found_after_their_file_system_was_unmounted(used: Node, *, gone: bool) -> None:
    if gone:
        for volume in ("v1", "v2"):
            shutil.rmtree(used.folder(volume))
        used.mounts.unmount(used.settings.view)
    used.mounts.unmount(used.token_folder)
    with pytest.raises(CleanupRefused) as refusal:
        cleaned(used, force=False)
    places = (sub_path(used), used.target(), used.target("v2"))
    assert all(str(place) in str(refusal.value) for place in places)
    assert cleaned(used)[0] == []
    assert_clean(used)


@pytest.mark.parametrize("covered", [False, True])
def test_token_files_on_the_disk_are_erased(rebooted: Node, *, covered: bool) -> None:
    file = rebooted.folder() / DATA_FOLDER / "token"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"at-0")
    with file.open("rb") as reader:
        if covered:
            rebooted.mounts.mount_tmpfs(rebooted.token_folder, size=1 << 16, inodes=10)
        assert cleaned(rebooted)[0] == []
        assert reader.read() == b""
    assert not rebooted.settings.plugin_dir.exists()


def test_all_problems_are_told_at_once_and_the_rest_is_removed(used: Node) -> None:
    used.mounts.unmount(used.settings.view)
    places = [used.target(), used.settings.view, used.token_folder]
    kept = [foreign(used, place) for place in places]
    # A folder that looks like ours, on the mount that covers the token file system.
    kept.append(used.folder() / DATA_FOLDER / "token")
    kept[-1].parent.mkdir(parents=True)
    kept.append(used.registration)
    for path in kept[3:]:
        path.unlink(missing_ok=True)
        path.write_bytes(b"theirs")
    for folder in (used.registration.parent, used.socket.parent):
        stale(folder / ".12340")
    problems, said = cleaned(used)
    for problem, place in zip(problems, [used.registration, *places], strict=True):
        assert str(place) in problem
    assert [path.read_bytes() for path in kept] == [b"theirs"] * 5
    gone = (used.socket, used.socket.with_name(".12340"), sub_path(used), used.target("v2"))
    assert not any(path.exists() for path in gone)
    assert {f"removed {path}" for path in gone} <= set(said)


def test_a_kubelet_folder_behind_a_symlink_is_cleaned_and_a_target_named_once(used: Node) -> None:
    link = used.root / "link"
    link.symlink_to(used.kubelet_dir)
    used.settings = replace(used.settings, kubelet_dir=link)
    with pytest.raises(CleanupRefused, match="alice/pod-1/v1, alice/pod-1/v2"):
        cleaned(used, force=False)
    foreign(used, used.target())
    assert len(cleaned(used)[0]) == 1
    used.mounts.unmount(used.target())
    assert cleaned(used)[0] == []
    assert_clean(used)


def test_mounts_outside_of_pods_and_of_other_drivers_stay(used: Node) -> None:
    container, other = used.root / "container", used.target("v3")
    for place in (container, other):
        place.mkdir(parents=True)
    used.mounts.bind(used.target(), container)
    used.mounts.mount_tmpfs(other, size=1 << 16, inodes=10)
    assert cleaned(used)[0] == []
    assert {target for target, _ in mounted(used)} == {str(container), str(other)}
    assert list(container.iterdir()) == []
