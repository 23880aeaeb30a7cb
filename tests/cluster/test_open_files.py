"""A node with many Secrets, and the usual limits of open files: 1,024, and more as the hard one.

All Secrets share the connections to brokers.
"""

import contextlib
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from csidriver.core.names import SourceRef
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tests.cluster.noderole import NodeRole
from tests.node.plugin import NAMESPACE, Node, companion, eventually, token
from tests.processes import command

pytestmark = [pytest.mark.tools(*PROGRAMS), pytest.mark.mounts]

MANY, SOFT, HARD = 500, 1024, 2048
# Whatever the number of Secrets; 14 at rest.
MOST_OPEN = 50


class LimitedNode(Node):
    """A node whose plugin is a process with `limits` of open files, soft and hard.

    Its pod has a volume for each Secret from s-0.
    """

    def __init__(self, role: NodeRole, secrets: int) -> None:
        super().__init__()
        self.role = role
        self.pod = role.create_pod(NAMESPACE, *(f"s-{number}" for number in range(secrets)))
        self._process: subprocess.Popen[bytes] | None = None
        self.limits = (SOFT, HARD)
        self.prefix: tuple[str, ...] = ()
        self.flags: tuple[str, ...] = (f"--volumes-per-pod={MANY}",)

    def start(self, **settings: object) -> None:
        assert not settings
        flags = [
            *(*self.role.flags, f"--kubelet-dir={self.kubelet_dir}", "--listen=127.0.0.1:0"),
            *(f"--view-dir={self.settings.view}", "--node-id=node-1", "--publish-wait=30"),
            *self.flags,
        ]
        soft, hard = self.limits
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [*self.prefix, "prlimit", f"--nofile={soft}:{hard}", *command("node", *flags)],
                stdout=log,
                stderr=log,
            )
        eventually(lambda: not self.is_running() or self.registration.exists(), "start", 60)
        assert self.is_running(), self.log()
        self._channel = grpc.insecure_channel(f"unix:{self.socket}")

    def stop(self) -> None:
        if self._process is None:
            return
        assert self.is_running(), self.log()
        self._channel.close()
        process, self._process = self._process, None
        process.terminate()
        try:
            assert process.wait(60) == 0, self.log()
        finally:
            process.kill()
            process.wait()

    def open_files(self) -> int:
        assert self._process is not None
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Return the end of the log of all processes."""
        return (self.root / "log").read_text(encoding="utf-8")[-3000:]


@dataclass(frozen=True, slots=True)
class Secrets:
    """A node and its volumes, each of a Secret of its own."""

    node: LimitedNode
    role: NodeRole

    def write(self, numbers: Iterable[int], generation: int) -> None:
        """Give each Secret a token of its own."""

        def one(number: int) -> None:
            source = SourceRef(NAMESPACE, f"s-{number}")
            value = token(f"at-{number}-{generation}")
            self.role.write_companion(companion(value, generation, source=source), source)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, numbers))

    def publish(self, numbers: Iterable[int]) -> dict[int, tuple[grpc.StatusCode, str]]:
        """Publish as kubelet does, several at a time; return the refusals."""

        def one(number: int) -> tuple[int, grpc.RpcError | None]:
            request = self.node.request(f"v{number}", {"secretName": f"s-{number}"})
            try:
                self.node.publish(request)
            except grpc.RpcError as error:
                return number, error
            return number, None

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(one, numbers))
        return {number: (e.code(), e.details()) for number, e in answers if e is not None}

    def wait_for(self, numbers: Iterable[int], generation: int) -> None:
        """Wait until the files have the tokens of a generation."""
        for number in numbers:
            expected = f"at-{number}-{generation}"
            eventually(lambda n=number, e=expected: self.node.content(f"v{n}") == e, expected, 60)  # type: ignore[misc]


@pytest.fixture(scope="module")
def role(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeRole]:
    with contextlib.closing(NodeRole(control_plane, tmp_path_factory.mktemp("role"))) as role:
        yield role


@pytest.fixture
def secrets(role: NodeRole) -> Iterator[Secrets]:
    node = LimitedNode(role, MANY)
    try:
        yield Secrets(node, role)
    finally:
        node.close()


def test_500_secrets_are_served_with_a_soft_limit_of_1024_also_after_a_restart(
    secrets: Secrets,
) -> None:
    everyone = range(MANY)
    secrets.write(everyone, 1)
    secrets.node.start()
    assert secrets.publish(everyone) == {}
    secrets.wait_for(everyone, 1)
    assert secrets.node.open_files() < MOST_OPEN
    secrets.node.stop()
    secrets.write(everyone, 2)
    secrets.node.start()
    secrets.wait_for(everyone, 2)
    assert secrets.publish(everyone) == {}
