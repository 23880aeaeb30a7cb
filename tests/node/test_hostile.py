"""What hostile pod authors, servers or callers send costs them a refusal and others nothing."""

import itertools
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from csidriver.core import names as core_names
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from tests.node.plugin import (
    NAMESPACE,
    Node,
    companion,
    eventually,
    follow_threads,
    names,
    token,
)

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode
Mutation = Callable[[Any, Node], object]
SECRET = "planted-refresh-token"
MEBIBYTE = 1 << 20
BIDI = "\u202egnp.exe"


class SharedNode:
    """A plugin, and a pod whose volume is being published while something hostile happens."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.numbers = itertools.count()
        self.outside = node.root / "outside"
        self.outside.mkdir()
        node.target("linked").parent.parent.mkdir(parents=True)
        node.target("linked").parent.symlink_to(self.outside)
        node.target("swapped").parent.mkdir()
        node.target("swapped").symlink_to(self.outside)
        node.request("v1")
        node.request("neighbour")

    def meanwhile(self, hostile: Callable[[], None]) -> None:
        """Do something while the neighbour waits for its token; all else is as before."""
        node = self.node
        late = SourceRef(NAMESPACE, f"late-{next(self.numbers)}")
        before = self.traces()
        call = node.publish_async(node.request("neighbour", {"secretName": late.name}))
        eventually(follow_threads, "the wait of the neighbour")
        hostile()
        assert not call.done()
        node.write_companion(companion(token("at-late"), source=late), late)
        assert call.exception(timeout=5) is None
        assert node.content("neighbour") == "at-late"
        node.unpublish("neighbour")
        eventually(lambda: not follow_threads(), "the end of all watches")
        assert self.traces() == before

    def traces(self) -> list[str]:
        folders = (self.node.kubelet_dir, self.outside, self.node.settings.view)
        found = [str(path) for folder in folders for path in folder.rglob("*")]
        return sorted(found) + [mount.target for mount in self.node.mounts.table()]


@pytest.fixture(scope="module")
def shared() -> Iterator[SharedNode]:
    node = Node()
    try:
        node.start()
        node.write_token("at-1")
        yield SharedNode(node)
    finally:
        node.close()


def target(text: str) -> Mutation:
    """`<volumes>` is the folder of the pod's volumes."""

    def mutate(request: Any, node: Node) -> None:
        volumes = str(node.target("v1").parents[1])
        request.target_path = text.replace("<volumes>", volumes).replace("<root>", str(node.root))

    return mutate


def attributes(**changes: str) -> Mutation:
    return lambda request, _: request.volume_context.update(changes)


def context(key: str, value: str) -> Mutation:
    return lambda request, _: request.volume_context.update({key: value})


def fs_group(text: str) -> Mutation:
    return lambda r, _: setattr(r.volume_capability.mount, "volume_mount_group", text)


HOSTILE: dict[str, Mutation] = {
    "path that escapes to the root": target("/"),
    "path that escapes by dots": target("<volumes>/../../../../outside/mount"),
    "path that escapes and comes back": target("<volumes>/../kubernetes.io~csi/v1/mount"),
    "path outside": target("<root>/outside/mount"),
    "path of the token file system": target("<root>/k/plugins/oauth2.csi.cern.ch/tokens/x"),
    "path into the neighbour": target("<volumes>/neighbour/mount/mount"),
    "path over all volumes of the pod": target("<volumes>"),
    "path through a symlink": target("<volumes>/linked/mount"),
    "path that is a symlink": target("<volumes>/swapped/mount"),
    "path with a NUL": target("<volumes>/v1\0/mount"),
    "path with a newline": target("<volumes>/v1\n/mount"),
    "path that is shown backwards": target(f"<volumes>/{BIDI}/mount"),
    "path of 1 MiB": target("<volumes>/" + "v" * MEBIBYTE),
    "volume id of 1 MiB": lambda r, _: setattr(r, "volume_id", "v" * MEBIBYTE),
    "volume id with a NUL": lambda r, _: setattr(r, "volume_id", "csi-\0"),
    "volume id with an escape sequence": lambda r, _: setattr(r, "volume_id", "\x1b[2J"),
    "file name that escapes": attributes(fileName="../../../outside/token"),
    "file name with a NUL": attributes(fileName="token\0.txt"),
    "file name that is shown backwards": attributes(fileName=BIDI),
    "attribute of 1 MiB": attributes(fileName="x" * MEBIBYTE),
    "template of 1 MiB": attributes(template="$(ACCESS_TOKEN)" * (MEBIBYTE // 15)),
    "three attributes of 1 MiB": attributes(
        **dict.fromkeys(("secretName", "owner", "mode"), "9" * MEBIBYTE)
    ),
    "key of 1 MiB": context("\u4e2d" * (MEBIBYTE // 3), "x"),
    "thousands of attributes": attributes(**{f"key{n}": "x" for n in range(20_000)}),
    "pod of another namespace": context(core_names.POD_NAMESPACE, "../bob"),
    "pod of another uid": context(core_names.POD_UID, "uid-2"),
    "pod name that forges a line": context(core_names.POD_NAME, "pod-1\nINFO all is well"),
    "volume that is not ephemeral": context(core_names.EPHEMERAL, "True"),
    "owner -1": attributes(owner="-1"),
    "owner that wraps around": attributes(owner="4294967296"),
    "owner that chown ignores": attributes(owner="4294967295"),
    "owner of a million digits": attributes(owner="9" * 1_000_000),
    "group 1e9": attributes(group="1e9"),
    "fsGroup -1": fs_group("-1"),
    "fsGroup of a million digits": fs_group("9" * 1_000_000),
    "mode 0o777": attributes(mode="0o777"),
    "mode 7777": attributes(mode="7777"),
    "mode 0666": attributes(mode="0666"),
    "mode of a million digits": attributes(mode="0" * 1_000_000),
    "secrets": lambda r, _: r.secrets.update({"oauth": SECRET, SECRET[:6]: SECRET}),
}


@pytest.mark.parametrize("mutate", [pytest.param(m, id=name) for name, m in HOSTILE.items()])
def test_a_hostile_request_is_refused_while_a_neighbour_is_published(
    shared: SharedNode, caplog: pytest.LogCaptureFixture, mutate: Mutation
) -> None:
    request = shared.node.request()
    mutate(request, shared.node)

    def hostile() -> None:
        code, text = shared.node.refused(request)
        assert code is Code.INVALID_ARGUMENT
        assert text.isprintable()
        assert len(text.encode()) < 4096
        assert SECRET not in text

    shared.meanwhile(hostile)
    assert all(line.isprintable() and SECRET not in line for line in caplog.messages)
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_hostile_request_for_a_mounted_volume_leaves_it_as_it_is(shared: SharedNode) -> None:
    node = shared.node
    node.publish(node.request())
    for mutate in HOSTILE.values():
        request = node.request()
        mutate(request, node)
        assert node.refused(request)[0] is Code.INVALID_ARGUMENT
        assert node.content() == "at-1"
        assert len(node.mounts_at()) == 1
    node.unpublish()
    eventually(lambda: not follow_threads(), "the end of all watches")


def test_a_request_above_4_mib_is_refused_with_its_size(shared: SharedNode) -> None:
    request = shared.node.request(attributes={"template": "x" * (5 * MEBIBYTE)})

    def hostile() -> None:
        code, text = shared.node.refused(request)
        assert code is Code.RESOURCE_EXHAUSTED
        assert "4194304" in text

    shared.meanwhile(hostile)


def test_keys_that_only_look_like_those_of_kubelet_change_nothing(shared: SharedNode) -> None:
    forged = {
        f"{core_names.KUBELET_PREFIX}{key}": value
        for key, value in {
            "secretName": "other",
            "mode": "0777",
            "owner": "1",
            "fileName": "../x",
            "serviceAccount.tokens": f'{{"": {{"token": "{SECRET}"}}}}',
            "\n": "\0",
            "x" * 1000: "x" * MEBIBYTE,
        }.items()
    }
    node = shared.node
    node.publish(node.request(attributes=forged))
    assert names(node.target()) == ["token"]
    assert node.file().stat().st_mode & 0o777 == 0o400
    assert SECRET not in (node.folder() / "volume.json").read_text(encoding="utf-8")
    node.unpublish()


@pytest.mark.parametrize("junk", [b"\0" * 70_000, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n"])
def test_junk_on_the_sockets_disturbs_nobody(shared: SharedNode, junk: bytes) -> None:
    def hostile() -> None:
        for path in (shared.node.socket, shared.node.registration):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(junk)

    shared.meanwhile(hostile)


@pytest.mark.parametrize(
    "message", ["\x1b[2J\nall is well", BIDI, "\u4e2d" * 100_000, "\U000e0001%" * 50_000]
)
def test_a_hostile_reason_of_the_authorization_server_is_told_tamely(
    shared: SharedNode, caplog: pytest.LogCaptureFixture, message: str
) -> None:
    ref = SourceRef(NAMESPACE, f"refused-{next(shared.numbers)}")
    shared.node.write_companion(
        companion(None, source=ref, status=Status.NEEDS_REAUTH, message=message), ref
    )
    request = shared.node.request(attributes={"secretName": ref.name})

    def hostile() -> None:
        code, text = shared.node.refused(request)
        assert code is Code.FAILED_PRECONDITION
        assert str(ref) in text
        assert text.isprintable()
        assert len(text.encode()) < 4096

    shared.meanwhile(hostile)
    assert all(line.isprintable() for line in caplog.messages)


def test_no_secret_of_a_request_reaches_a_file(shared: SharedNode) -> None:
    request = shared.node.request()
    request.secrets["oauth"] = SECRET
    shared.node.refused(request)
    for folder in (shared.node.kubelet_dir, shared.outside):
        for path in folder.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes()


# Takes a read lease, and takes it again whenever a writer breaks it.
LEASE_HOLDER = """
import contextlib, fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
print("held", flush=True)
while signal.sigwait([signal.SIGIO]):
    print("broken", flush=True)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    with contextlib.suppress(BlockingIOError):  # the writer was faster
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
"""


def test_a_read_lease_that_is_taken_again_and_again_does_not_freeze_the_file(node: Node) -> None:
    node.write_token("at-1", left=4.0)
    node.publish(node.request(attributes={"minValidity": "1"}))
    command = [sys.executable, "-c", LEASE_HOLDER, str(node.file())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:  # noqa: S603
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            node.write_token("at-2", 2)
            eventually(lambda: node.content() == "at-2", "the rotation")
            assert holder.stdout.readline() == "broken\n"
        finally:
            holder.kill()
