"""The pair of Go is run, called and ended as it should be; a stand-in answers for it here."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import peer
from csidriver.adapters.mounts import Mounts
from csidriver.demo.kubelet import Kubelet
from csidriver.errors import DriverError

pytestmark = pytest.mark.mounts
ROOT = Path(__file__).parents[2]
# Serves CSI at --endpoint=unix://PATH and keeps what it was asked for in a file beside it.
DRIVER = f"""#!{sys.executable}
import sys, threading
from concurrent import futures
sys.path.insert(0, {str(ROOT)!r})
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
threading.Event().wait()
"""
REGISTRAR = "#!/bin/sh\nexec sleep 600\n"


@pytest.fixture
def kubelet() -> Iterator[Path]:
    # Not in tmp_path: a unix socket's path has at most 107 bytes.
    made = Kubelet(Path(tempfile.mkdtemp(prefix="b", dir="/tmp")), Mounts(), "physics")
    made.prepare()
    yield made.root
    Mounts().unmount(made.root)
    shutil.rmtree(made.root)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in ((peer.DRIVER, DRIVER), (peer.REGISTRAR, REGISTRAR)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(peer, "MEMORY", tmp_path)
    return folder


def test_the_pair_is_called_for_ephemeral_volumes_of_its_own(kubelet: Path, programs: Path) -> None:
    assert peer.program(peer.DRIVER) == programs / peer.DRIVER
    with peer.running(kubelet) as pair:
        assert pair is not None
        assert pair.publish(3) > 0
        assert pair.unpublish(3) > 0
        assert pair.memory() > 1
        processes = pair._processes
    assert all(process.poll() is not None for process in processes)
    (log,) = kubelet.glob("plugins/*/csi.sock.log")
    published, unpublished = (line.split() for line in log.read_text().splitlines())
    assert published[:2] == ["publish", "true"]
    assert unpublished == ["unpublish", published[2]]
    assert published[2].startswith(f"{kubelet}/pods/")


def test_a_pair_that_does_not_serve_is_an_error_that_leaves_no_process(
    kubelet: Path, programs: Path
) -> None:
    (programs / peer.DRIVER).write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(DriverError, match="does not serve"), peer.running(kubelet):
        pytest.fail("nothing serves")


def test_without_its_programs_there_is_no_pair(
    tmp_path: Path, kubelet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("OAUTH2_CSI_TOOLS", str(tmp_path))
    with peer.running(kubelet) as pair:
        assert pair is None
