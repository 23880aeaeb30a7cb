"""Whatever a publish asks for, the plugin answers it as what it is and stays as it was."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from csidriver._proto import csi_pb2
from csidriver.core import names as core_names
from csidriver.core.volume.attributes import KEYS
from tests.leak_detection import LogCollector, collect_logs
from tests.node.plugin import Node, eventually, follow_threads, names

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode
Strategy = st.SearchStrategy[Any]
Change = Callable[[Any, Node], object]

PLANTED = "planted-refresh-token"
TOKENS_KEY = f"{core_names.KUBELET_PREFIX}serviceAccount.tokens"
BUGS = (Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.CANCELLED)

NASTY = [
    *("", ".", "..", "/", "//", "../../outside", "a/../b", "-rf", "~", "*", "%s%n", "%00"),
    *("\0", "\n", "\r\n", "\x1b[31m", "\x7f", "\u202e", "\u2066", "\ufeff", "\U000e0001", "\u4e2d"),
    *("-1", "+1", " 0", "0\n", "0x10", "0o777", "7777", "1e9", "4294967295", "nan", "\u0661"),
    *("$", "$$", "$(", "$()", "$(ACCESS_TOKEN)", "$(REFRESH_TOKEN)", "{}", "hello-token", "token"),
]
BRICKS = ["x", "9", "/x", "\n", "\u4e2d", "\U000e0001", "$(A)", "$(ACCESS_TOKEN)", "$$", "../"]
VOLUMES = "<node>/k/pods/uid-1/volumes/kubernetes.io~csi"
ROOTS = [
    *("<node>/outside", "<node>/k", "<node>/k/pods", "<node>/k/pods/link", "<node>/k/pods/uid-1"),
    *("<node>/k/pods/uid-2/volumes/kubernetes.io~csi/v1/mount", f"{VOLUMES}/linked/mount"),
    *(VOLUMES, f"{VOLUMES}/v1", f"{VOLUMES}/v1/mount", f"{VOLUMES}/../kubernetes.io~csi"),
]


class Target:
    """A plugin under fire, and all that must stay as it is."""

    def __init__(self, node: Node, logs: LogCollector) -> None:
        self.node, self.logs = node, logs
        outside = node.root / "outside"
        outside.mkdir()
        node.request()
        (node.kubelet_dir / "pods/link").symlink_to(outside)
        node.target("linked").parent.symlink_to(outside)
        self.before = self.traces()

    def traces(self) -> tuple[list[str], list[str], list[str]]:
        """Files that are not the plugin's, mounts of this machine, volumes of the plugin."""
        plugin = tuple(map(str, (self.node.settings.plugin_dir, self.node.settings.view)))
        files = [str(p) for p in self.node.root.rglob("*") if not str(p).startswith(plugin)]
        mounts = [f"{m.target} {m.root} {m.device}" for m in self.node.mounts.table()]
        return sorted(files), mounts, names(self.node.token_folder)

    def answers(self, method: str, request: Any) -> grpc.StatusCode:
        """The code of an answer that keeps the rules for any answer."""
        code, text = Code.OK, ""
        try:
            self.node.call(method, request)
        except grpc.RpcError as error:
            code, text = error.code(), error.details()
        assert code not in BUGS, text
        assert text.isprintable()
        assert len(text.encode()) < 4096
        assert PLANTED not in text
        return code

    def publishes_and_undoes(self, request: Any) -> None:
        """Publish; unpublish as kubelet does what was published, and all is as before."""
        if self.answers("NodePublishVolume", request) is Code.OK:
            assert len(self.node.mounts_at(Path(request.target_path))) == 1
            end = csi_pb2.NodeUnpublishVolumeRequest(
                volume_id=request.volume_id, target_path=request.target_path
            )
            assert self.answers("NodeUnpublishVolume", end) is Code.OK
        assert not any(PLANTED in line or "Traceback" in line for line in self.logs.lines)
        self.logs.lines.clear()
        eventually(lambda: not follow_threads(), "the end of all watches")
        assert self.traces() == self.before


@pytest.fixture(scope="module")
def shared_target() -> Iterator[Target]:
    with contextlib.closing(Node()) as node, collect_logs() as logs:
        node.start(publish_wait=0.01)
        node.write_token("at-1")
        yield Target(node, logs)


def chown_is_possible(request: Any) -> bool:
    """Whether this machine could give files to whom the request names."""
    ids = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    context = request.volume_context
    wanted = [context[key] for key in ("owner", "group") if key in context]
    wanted.append(request.volume_capability.mount.volume_mount_group)
    short = [text for text in wanted if len(text) <= 10 and text.isdecimal()]
    return int(ids[2]) >= 1 << 31 or not any(int(text) for text in short)


SIZES = st.sampled_from([65, 257, 5000, 70_000, 1 << 20])
TEXTS = (
    st.sampled_from(NASTY)
    | st.text(max_size=60)
    | st.builds(lambda text, size: text * (size // len(text)), st.sampled_from(BRICKS), SIZES)
)
PLAUSIBLE = st.from_regex(r"[a-z0-9._-]{1,60}|[0-9]{1,10}", fullmatch=True)
PATHS = st.builds(lambda root, text: f"{root}/{text}", st.sampled_from(ROOTS), TEXTS) | TEXTS
KUBELET_KEYS = (
    core_names.POD_NAME,
    core_names.POD_NAMESPACE,
    core_names.POD_UID,
    core_names.EPHEMERAL,
)


def texts_of(field: str, values: Strategy = TEXTS) -> Strategy:
    return values.map(lambda v: lambda r, n: setattr(r, field, v.replace("<node>", str(n.root))))


def entries_of(field: str, keys: Strategy, values: Strategy = TEXTS) -> Strategy:
    return st.dictionaries(keys, values, min_size=1, max_size=3).map(
        lambda entries: lambda r, _: getattr(r, field).update(entries)
    )


CHANGES: Strategy = st.one_of(
    texts_of("volume_id"),
    texts_of("target_path", PATHS),
    entries_of("volume_context", st.sampled_from([*KEYS, *KUBELET_KEYS])),
    entries_of("volume_context", st.sampled_from(KEYS), PLAUSIBLE),
    entries_of("volume_context", TEXTS),
    entries_of("volume_context", TEXTS.map(lambda text: core_names.KUBELET_PREFIX + text)),
    entries_of("secrets", TEXTS, st.just(PLANTED)),
    st.just(lambda r, _: r.volume_context.update({TOKENS_KEY: f'{{"": "{PLANTED}"}}'})),
    st.just(lambda r, _: r.volume_context.update({f"key-{n}": "x" for n in range(5000)})),
    st.sampled_from([*KEYS, *KUBELET_KEYS]).map(lambda k: lambda r, _: r.volume_context.pop(k, "")),
    TEXTS.map(lambda t: lambda r, _: setattr(r.volume_capability.mount, "fs_type", t)),
    TEXTS.map(lambda t: lambda r, _: setattr(r.volume_capability.mount, "volume_mount_group", t)),
    st.just(lambda r, _: setattr(r, "readonly", False)),
)


@settings(max_examples=250, database=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_publish_requests_are_answered(shared_target: Target, changes: list[Change]) -> None:
    request = shared_target.node.request()
    for change in changes:
        change(request, shared_target.node)
    assume(chown_is_possible(request))
    shared_target.publishes_and_undoes(request)
