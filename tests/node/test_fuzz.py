"""Whatever a publish asks for, the plugin answers it as what it is and stays as it was."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from csidriver._proto import csi_pb2
from csidriver.core import names as core_names
from csidriver.core.volume.attributes import KEYS
from tests.node.plugin import Node, eventually, follow_threads, names

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode
BUGS = (Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.CANCELLED)
VOLUMES = "<node>/k/pods/uid-1/volumes/kubernetes.io~csi"
ROOTS = ["<node>/k", "<node>/k/pods/link", VOLUMES, f"{VOLUMES}/linked/mount", f"{VOLUMES}/v1"]
NASTY = ["", "..", "//", "../../outside", "\0", "\n", "\x1b[31m", "\u202e", "-1", "$("]
TEXTS = st.text(max_size=60) | st.builds(
    lambda text, size: text * size, st.sampled_from(NASTY), st.sampled_from([1, 65, 5000, 70_000])
)
PATHS = st.builds(lambda root, text: f"{root}/{text}", st.sampled_from(ROOTS), TEXTS) | TEXTS
KUBELET_KEYS = [core_names.POD_NAME, core_names.POD_NAMESPACE, core_names.POD_UID]
KEY = st.sampled_from([*KEYS, *KUBELET_KEYS]) | TEXTS.map(core_names.KUBELET_PREFIX.__add__) | TEXTS


@pytest.fixture(scope="module")
def links(shared_node: Node) -> Node:
    """A node where links lead out of the volumes' folders."""
    outside = shared_node.root / "outside"
    outside.mkdir()
    shared_node.request()
    (shared_node.kubelet_dir / "pods/link").symlink_to(outside)
    shared_node.target("linked").parent.symlink_to(outside)
    return shared_node


def traces(node: Node) -> tuple[list[str], list[str], list[str]]:
    """Files that are not the plugin's, mounts of this machine, volumes of the plugin."""
    plugin = tuple(map(str, (node.settings.plugin_dir, node.settings.view)))
    files = [str(path) for path in node.root.rglob("*") if not str(path).startswith(plugin)]
    mounts = [f"{m.target} {m.root} {m.device}" for m in node.mounts.table()]
    return sorted(files), mounts, names(node.token_folder)


def code_of(node: Node, method: str, request: Any) -> grpc.StatusCode:
    code, text = Code.OK, ""
    try:
        node.call(method, request)
    except grpc.RpcError as error:
        code, text = error.code(), error.details()
    assert code not in BUGS, text
    assert text.isprintable()
    assert len(text.encode()) < 4096
    return code


@settings(max_examples=200, database=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.none() | TEXTS, st.none() | PATHS, st.dictionaries(KEY, TEXTS, max_size=3), TEXTS)
def test_publish_requests_are_answered(
    links: Node, volume_id: str | None, path: str | None, context: dict[str, str], group: str
) -> None:
    # Not every machine could give files to any owner.
    assume(not any(v.isdecimal() and int(v) for v in (*context.values(), group) if len(v) < 11))
    before, request = traces(links), links.request()
    if volume_id is not None:
        request.volume_id = volume_id
    if path is not None:
        request.target_path = path.replace("<node>", str(links.root))
    request.volume_context.update(context)
    request.volume_capability.mount.volume_mount_group = group
    if code_of(links, "NodePublishVolume", request) is Code.OK:
        assert len(links.mounts_at(Path(request.target_path))) == 1
        end = csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=request.volume_id, target_path=request.target_path
        )
        assert code_of(links, "NodeUnpublishVolume", end) is Code.OK
    eventually(lambda: not follow_threads(), "the end of all watches")
    assert traces(links) == before
