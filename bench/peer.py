"""What the plugin is compared with: the least that serves, and the Go pair.

That is the hostpath CSI driver with node-driver-registrar, if they are among the tools or on PATH.
"""

import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.node import Caller
from bench.processes import MEMORY, OWN_MOUNTS, TIMEOUT, Program
from bench.report import Row
from csidriver.adapters.mounts import Mounts
from csidriver.demo.kubelet import Kubelet
from tools.programs import find

DRIVER, REGISTRAR = "hostpathplugin", "csi-node-driver-registrar"
# The floor: a grpcio server that registers with kubelet and does nothing else.
_EMPTY = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver._proto import pluginregistration_pb2 as registration_pb2
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc

class Empty(csi_pb2_grpc.NodeServicer, registration_pb2_grpc.RegistrationServicer):
    def NodeGetInfo(self, request, context):
        return csi_pb2.NodeGetInfoResponse(node_id="empty")

    def GetInfo(self, request, context):
        return registration_pb2.PluginInfo(
            type="CSIPlugin", name="empty", endpoint=sys.argv[1], supported_versions=["1.0.0"]
        )

    def NotifyRegistrationStatus(self, request, context):
        return registration_pb2.RegistrationStatusResponse()

server = grpc.server(ThreadPoolExecutor(16))
csi_pb2_grpc.add_NodeServicer_to_server(Empty(), server)
registration_pb2_grpc.add_RegistrationServicer_to_server(Empty(), server)
server.add_insecure_port(f"unix:{sys.argv[1]}")
server.start()
server.wait_for_termination()
"""


def program(name: str) -> str:
    return str(find(name) or shutil.which(name) or "")


def compare(key: str, ratios: Sequence[float], target: str) -> Row:
    """Return the row of a comparison, or why there is none."""
    missing = [name for name in (DRIVER, REGISTRAR) if not program(name)]
    skipped = "" if ratios else f"skipped: no {' and no '.join(missing)}"
    return Row(key, ratios, target, skipped=skipped)


class Pair(Caller):
    """Calls the driver, which knows nothing of tokens."""

    programs: Sequence[Program]

    def memory(self) -> float:
        """RSS of both in MiB."""
        return sum(each.memory() for each in self.programs)


@contextmanager
def running() -> Iterator[Pair | None]:
    """Run the pair in a mount namespace like the plugin's; give None without its programs.

    Raise DriverError, with its exit status and its last lines, if one of them ends.
    """
    driver, registrar = program(DRIVER), program(REGISTRAR)
    if not (driver and registrar):
        yield None
        return
    kubelet = Kubelet(MEMORY / "go", Mounts(), "none")
    kubelet.prepare()
    socket = kubelet.root / "plugins/csi.sock"
    of_driver = f"--endpoint=unix://{socket} --drivername=hostpath.csi.k8s.io --nodeid=bench"
    of_registrar = f"--csi-address={socket} --kubelet-registration-path={socket}"
    folder = f"--plugin-registration-path={kubelet.root}/plugins_registry"
    commands = f"{driver} {of_driver} --statedir={MEMORY}", f"{registrar} {of_registrar} {folder}"
    with ExitStack() as stack:
        programs = [
            stack.enter_context(Program(Path(each.split()[0]).name, [*OWN_MOUNTS, *each.split()]))
            for each in commands
        ]
        programs[0].until(socket.is_socket)
        pair = Pair(kubelet.root, socket, {})
        pair.programs = programs
        stack.callback(pair.close)
        try:
            yield pair
        finally:
            for each in programs:
                each.check()


@contextmanager
def empty_server() -> Iterator[tuple[float, Program]]:
    """Start and register the floor; give the seconds that took, and the program."""
    kubelet = Kubelet(MEMORY / "empty", Mounts(), "none")
    if not kubelet.root.exists():
        kubelet.prepare()
    socket = kubelet.root / "plugins_registry/empty-reg.sock"
    socket.unlink(missing_ok=True)
    command = [*OWN_MOUNTS, sys.executable, "-P", "-c", _EMPTY, str(socket)]
    with Program("empty", command) as server:
        kubelet.register(threading.Event(), TIMEOUT, server.check)
        yield time.monotonic() - server.started, server
