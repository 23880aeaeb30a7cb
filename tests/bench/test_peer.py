"""The pair of Go is run, called and ended as it should be; a stand-in answers for it here."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import peer, processes
from csidriver.adapters.mounts import Mounts
from csidriver.errors import DriverError

pytestmark = pytest.mark.mounts
# Serves CSI at --endpoint=unix://PATH and keeps what it was asked for in a file beside it.
DRIVER = f"""#!{sys.executable}
import sys
from concurrent import futures
import grpc
from csidriver._proto import csi_pb2, csi_pb2_grpc

flags = dict(flag.split("=", 1) for flag in sys.argv[1:])
path = flags["--endpoint"].removeprefix("unix://")

class Node(csi_pb2_grpc.NodeServicer):
    def NodePublishVolume(self, request, context):
        with open(path + ".log", "a") as log:
            ephemeral = request.volume_context["csi.storage.k8s.io/ephemeral"]
            print("publish", ephemeral, request.target_path, file=log)
        return csi_pb2.NodePublishVolumeResponse()

    def NodeUnpublishVolume(self, request, context):
        with open(path + ".log", "a") as log:
            print("unpublish", request.target_path, file=log)
        return csi_pb2.NodeUnpublishVolumeResponse()

server = grpc.server(futures.ThreadPoolExecutor(2))
csi_pb2_grpc.add_NodeServicer_to_server(Node(), server)
server.add_insecure_port("unix:" + path)
server.start()
server.wait_for_termination()
"""
REGISTRAR = "#!/bin/sh\nexec sleep 600\n"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Not in tmp_path: a unix socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as name:
        for module in (peer, processes):
            monkeypatch.setattr(module, "MEMORY", Path(name))
        monkeypatch.setenv("OAUTH2_CSI_TOOLS", name)
        monkeypatch.setenv("PATH", f"{name}:/usr/bin:/bin")
        yield Path(name)
        if (Path(name) / "go").exists():
            Mounts().unmount(Path(name) / "go")


@pytest.fixture
def programs(folder: Path) -> Path:
    for name, text in ((peer.DRIVER, DRIVER), (peer.REGISTRAR, REGISTRAR)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def test_the_pair_is_called_for_ephemeral_volumes(programs: Path) -> None:
    with peer.running() as pair:
        assert pair is not None
        assert pair.publish(3, None) > 0
        assert pair.unpublish(3) > 0
        assert pair.memory() > 1
        ended = [each._process for each in pair.programs]
    assert all(process.poll() is not None for process in ended)
    published, unpublished = (
        line.split() for line in (programs / "go/plugins/csi.sock.log").read_text().splitlines()
    )
    assert published[:2] == ["publish", "true"]
    assert unpublished == ["unpublish", published[2]]
    assert published[2].startswith(f"{programs}/go/pods/")


@pytest.mark.parametrize("name", [peer.DRIVER, peer.REGISTRAR])
def test_a_pair_that_ends_says_why(programs: Path, name: str) -> None:
    (programs / name).write_text("#!/bin/sh\necho 'the version is missing' >&2\nexit 3\n")
    why = f"{name} ended with status 3:\nthe version is missing"
    with pytest.raises(DriverError, match=why), peer.running() as pair:  # noqa: PT012
        assert pair is not None
        pair.programs[-1]._process.wait(10)


def test_without_its_programs_there_is_no_pair_and_its_numbers_are_skipped(folder: Path) -> None:
    with peer.running() as pair:
        assert pair is None
    row = peer.compare("publish_ratio_go", [], ">= 5")
    assert row.verdict == f"skipped: no {peer.DRIVER} and no {peer.REGISTRAR}"
    assert not (folder / "go").exists()
