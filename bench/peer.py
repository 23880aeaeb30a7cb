"""The Go peer: the hostpath CSI driver with node-driver-registrar, a pair as deployments have it.

Both are looked for among the tools and on PATH. Where they are not, the numbers that compare with
them are skipped by name.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.calls import Caller
from bench.catalogue import ENTRIES
from bench.process import TIMEOUT, memory_of
from bench.room import MEMORY
from csidriver.errors import DriverError
from tools.programs import find

DRIVER, REGISTRAR = "hostpathplugin", "csi-node-driver-registrar"
_NAME = "hostpath.csi.k8s.io"
# Its volumes are others than ours, below the same folder of kubelet.
_OFFSET = 50_000


def program(name: str) -> Path | None:
    """Where a program of the peer is, None if it is nowhere."""
    on_path = shutil.which(name)
    return find(name) or (Path(on_path) if on_path else None)


def skipped() -> Mapping[str, str]:
    """Why keys are not measured here."""
    missing = [name for name in (DRIVER, REGISTRAR) if program(name) is None]
    why = f"skipped: {' and '.join(missing)} not found"
    return {entry.key: why for entry in ENTRIES if entry.go} if missing else {}


class GoPair:
    """Driver and registrar, running, with kubelet's folder at `kubelet`."""

    def __init__(self, kubelet: Path, processes: list["subprocess.Popen[bytes]"]) -> None:
        self._processes = processes
        socket = _socket(kubelet)
        deadline = time.monotonic() + TIMEOUT
        while not socket.is_socket():
            if time.monotonic() > deadline or any(p.poll() is not None for p in processes):
                raise DriverError(f"{DRIVER} does not serve")
            time.sleep(0.05)
        self._caller = Caller(kubelet / "pods", socket)

    def publish(self, number: int) -> float:
        """Milliseconds of publishing a volume, or of publishing it again."""
        request = self._caller.publish_request(_OFFSET + number, None)
        return self._caller.call("NodePublishVolume", request)

    def unpublish(self, number: int) -> float:
        """Milliseconds."""
        return self._caller.call(
            "NodeUnpublishVolume", self._caller.unpublish_request(_OFFSET + number)
        )

    def memory(self) -> float:
        """RSS of both in MiB."""
        return sum(memory_of(process.pid)["Rss"] for process in self._processes) / 1024

    def close(self) -> None:
        """Let go of the connection."""
        self._caller.close()


@contextmanager
def running(kubelet: Path) -> Iterator[GoPair | None]:
    """Run the pair in a mount namespace like the plugin's; give None without its programs."""
    driver, registrar = program(DRIVER), program(REGISTRAR)
    if driver is None or registrar is None:
        yield None
        return
    socket = _socket(kubelet)
    socket.parent.mkdir(parents=True, exist_ok=True)
    state = MEMORY / "hostpath"
    state.mkdir(exist_ok=True)
    with ExitStack() as stack, (MEMORY / "go.log").open("ab") as log:
        processes: list[subprocess.Popen[bytes]] = []
        for command in (
            [
                *(str(driver), f"--endpoint=unix://{socket}", f"--drivername={_NAME}"),
                *("--nodeid=bench", f"--statedir={state}"),
            ],
            [
                *(str(registrar), f"--csi-address={socket}"),
                *(f"--kubelet-registration-path={socket}",),
                f"--plugin-registration-path={kubelet}/plugins_registry",
            ],
        ):
            processes.append(_start(command, log.fileno()))
            stack.callback(_end, processes[-1])
        pair = GoPair(kubelet, processes)
        stack.callback(pair.close)
        yield pair


def _start(command: list[str], log: int) -> "subprocess.Popen[bytes]":
    namespace = ["unshare", "--mount", "--propagation", "unchanged"]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.Popen(  # noqa: S603 - our own command
        namespace + command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _socket(kubelet: Path) -> Path:
    return kubelet / "plugins" / _NAME / "csi.sock"
