"""Whatever arrives at the sockets, the plugin answers it as what it is and stays as it was.

The examples are the same in every run: what fails in CI fails here.
"""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from csidriver._proto import csi_pb2
from csidriver._proto import pluginregistration_pb2 as registration_pb2
from csidriver.core import names as core_names
from csidriver.core.volume.attributes import KEYS
from tests.node.plugin import Node, eventually, follow_threads, names

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode
Strategy = st.SearchStrategy[Any]
Change = Callable[[Any, Node], object]

FUZZ = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
PLANTED = "planted-refresh-token"
TOKENS_KEY = f"{core_names.KUBELET_PREFIX}serviceAccount.tokens"
BUGS = (Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.CANCELLED)
PUBLISH = "/csi.v1.Node/NodePublishVolume"
UNPUBLISH = "/csi.v1.Node/NodeUnpublishVolume"
NOTIFY = "/pluginregistration.Registration/NotifyRegistrationStatus"
METHODS: dict[str, Any] = {
    f"/{service.full_name}/{method.name}": GetMessageClass(method.input_type)
    for file in (csi_pb2.DESCRIPTOR, registration_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}

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


class CollectedErrors(logging.Handler):
    """Log records that tell of a bug or of a secret, or forge lines."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info or PLANTED in text or "\n" in text or len(text) > 8192:
            self.found.append(f"{record.name}: {text[:1000]}")


class Target:
    """A plugin under fire, and all that must stay as it is."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.errors = CollectedErrors()
        outside = node.root / "outside"
        outside.mkdir()
        node.request()
        (node.kubelet_dir / "pods/link").symlink_to(outside)
        node.target("linked").parent.symlink_to(outside)
        self.before = self.traces()

    def traces(self) -> tuple[list[str], list[str], list[str]]:
        """Files that are not the plugin's, mounts of this machine, volumes of the plugin."""
        # After a word that it is refused the plugin makes a new socket.
        registry, settings = self.node.registration.parent, self.node.settings
        plugin = tuple(map(str, (settings.plugin_dir, settings.view, registry)))
        files = [
            path
            for folder, folders, files in os.walk(self.node.root)
            for name in [*folders, *files]
            if not (path := f"{folder}/{name}").startswith(plugin)
        ]
        mounts = [f"{m.target} {m.root} {m.device}" for m in self.node.mounts.table()]
        return sorted(files), mounts, names(self.node.token_folder)

    def answers(self, method: str, sent: bytes) -> grpc.StatusCode:
        """The code of an answer that keeps the rules for any answer."""
        call = self.node._channel.unary_unary(method)
        error = call.future(sent, timeout=30).exception()
        code, text = (Code.OK, "") if error is None else (error.code(), error.details())
        assert code not in BUGS, text
        assert text.isprintable()
        assert len(text.encode()) < 4096
        assert PLANTED not in text
        return code

    def answers_and_undoes(self, method: str, sent: bytes) -> None:
        """As `answers`; then unpublish as kubelet does what was published, and all is as before."""
        code = self.answers(method, sent)
        if code is Code.OK and method == PUBLISH:
            request = csi_pb2.NodePublishVolumeRequest.FromString(sent)
            assert len(self.node.mounts_at(Path(request.target_path))) == 1
            end = csi_pb2.NodeUnpublishVolumeRequest(
                volume_id=request.volume_id, target_path=request.target_path
            )
            assert self.answers(UNPUBLISH, end.SerializeToString()) is Code.OK
        assert self.errors.found == []
        eventually(lambda: not follow_threads(), "the end of all watches")
        assert self.traces() == self.before


@pytest.fixture(scope="module")
def shared_target() -> Iterator[Target]:
    node, log = Node(), logging.getLogger("csidriver")
    level = log.level
    try:
        node.start(publish_wait=0.01)
        node.write_token("at-1")
        target = Target(node)
        logging.getLogger().addHandler(target.errors)
        log.setLevel(logging.DEBUG)
        yield target
        logging.getLogger().removeHandler(target.errors)
    finally:
        log.setLevel(level)
        node.close()


def chown_is_possible(request: Any) -> bool:
    """Whether this machine could give files to whom the request names."""
    ids = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    context = request.volume_context
    wanted = [context[key] for key in ("owner", "group") if key in context]
    wanted.append(request.volume_capability.mount.volume_mount_group)
    short = [text for text in wanted if len(text) <= 10 and text.isdecimal()]
    return int(ids[2]) >= 1 << 31 or not any(int(text) for text in short)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of a message with some of them replaced, missing or repeated."""
    sent = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(sent)))
        end = start + draw(st.integers(0, 3))
        sent[start:end] = draw(st.binary(max_size=4))
    return bytes(sent)


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


CAPABILITIES = st.builds(
    csi_pb2.VolumeCapability,
    access_mode=st.none() | st.builds(csi_pb2.VolumeCapability.AccessMode, mode=st.integers(-1, 9)),
    mount=st.none()
    | st.builds(
        csi_pb2.VolumeCapability.MountVolume,
        fs_type=st.just("") | TEXTS,
        mount_flags=st.just([]) | st.lists(TEXTS, max_size=3),
        volume_mount_group=st.just("") | TEXTS,
    ),
)
CHANGES: Strategy = st.one_of(
    texts_of("volume_id"),
    texts_of("target_path", PATHS),
    texts_of("staging_target_path", PATHS),
    entries_of("volume_context", st.sampled_from([*KEYS, *KUBELET_KEYS])),
    entries_of("volume_context", st.sampled_from(KEYS), PLAUSIBLE),
    entries_of("volume_context", TEXTS),
    entries_of("volume_context", TEXTS.map(lambda text: core_names.KUBELET_PREFIX + text)),
    entries_of("publish_context", TEXTS),
    entries_of("secrets", TEXTS, st.just(PLANTED)),
    st.just(lambda r, _: r.volume_context.update({TOKENS_KEY: f'{{"": "{PLANTED}"}}'})),
    st.just(lambda r, _: r.volume_context.update({f"key-{n}": "x" for n in range(5000)})),
    st.sampled_from([*KEYS, *KUBELET_KEYS]).map(lambda k: lambda r, _: r.volume_context.pop(k, "")),
    CAPABILITIES.map(lambda c: lambda r, _: r.volume_capability.CopyFrom(c)),
    st.just(lambda r, _: setattr(r, "readonly", False)),
)


@settings(FUZZ, max_examples=40)
@given(st.data())
@pytest.mark.parametrize("method", METHODS)
def test_raw_bytes_are_answered(shared_target: Target, method: str, data: st.DataObject) -> None:
    node = shared_target.node
    requests = {
        PUBLISH: node.request(),
        UNPUBLISH: csi_pb2.NodeUnpublishVolumeRequest(
            volume_id="csi-v1", target_path=str(node.target())
        ),
        NOTIFY: registration_pb2.RegistrationStatus(plugin_registered=True, error="none"),
    }
    whole = requests.get(method, METHODS[method]()).SerializeToString(deterministic=True)
    sent = data.draw(st.binary() | damaged(whole))
    shared_target.answers_and_undoes(method, sent)


@settings(FUZZ, max_examples=250)
@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_publish_requests_are_answered(shared_target: Target, changes: list[Change]) -> None:
    request = shared_target.node.request()
    for change in changes:
        change(request, shared_target.node)
    assume(chown_is_possible(request))
    shared_target.answers_and_undoes(PUBLISH, request.SerializeToString())
