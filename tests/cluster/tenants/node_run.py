"""A node with the chart's memory, between the pods of a hostile tenant and those of a victim."""

import contextlib
import itertools
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from csidriver.config import NodeLimits
from csidriver.core import names
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import MAX_ACCESS_TOKEN
from csidriver.core.names import SourceRef
from csidriver.core.volume.template import MAX_TEMPLATE
from tests.cluster.controlplane import ControlPlane
from tests.cluster.noderole import NodeRole
from tests.cluster.tenants import lease_holder
from tests.cluster.tenants.hostile_secrets import EMOJI
from tests.cluster.tenants.limits import memory_limit
from tests.cluster.tenants.probing import probed
from tests.cluster.tenants.report import Report, spread
from tests.cluster.test_open_files import LimitedNode
from tests.memory_cgroup import memory_cgroup
from tests.node.plugin import companion, token
from tests.refresher.bench import until

HOSTILE, VICTIM = "mallory", "victim"
LIFETIME, LEAD = 300.0, 120.0  # of the victim's tokens; they are refreshed so long before the end
REFRESH_PAUSE = 0.2  # seconds between two of the victim's refreshes
PUBLISHED = "published"
CALLS = 4  # that kubelet makes at a time
MORE = 10  # volumes above the cap of a namespace
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class NodeScale:
    """The size of a run. The hostile tenant has all volumes and Secrets that `limits` allow."""

    seconds: float = 60.0
    tokens: int = 20
    limits: NodeLimits = field(default_factory=NodeLimits)
    edits_per_second: float = 20.0
    held: int = 200  # files that the hostile pods keep open, with a lease


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of a tenant's Secret, in one of his pods."""

    pod: PodRef
    number: int
    secret: str
    template: str = ""

    @property
    def source(self) -> SourceRef:
        return SourceRef(self.pod.namespace, self.secret)

    def file(self, node: LimitedNode) -> Path:
        return self._target(node) / "token"

    def request(self, node: LimitedNode) -> Any:
        """Return kubelet's request, and make the folder that kubelet makes before."""
        attributes = {"secretName": self.source.name}
        if self.template:
            attributes["template"] = self.template
        request = node.request(f"{self.pod.namespace}-{self.number}", attributes)
        target = self._target(node)
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        request.target_path = str(target)
        context = request.volume_context
        context[names.POD_NAMESPACE] = self.pod.namespace
        context[names.POD_NAME], context[names.POD_UID] = self.pod.name, self.pod.uid
        return request

    def _target(self, node: LimitedNode) -> Path:
        volumes = node.kubelet_dir / "pods" / self.pod.uid / "volumes/kubernetes.io~csi"
        return volumes / f"v{self.number}" / "mount"


def hostile_volumes(role: NodeRole, limits: NodeLimits) -> list[Volume]:
    """Create pods with more volumes than a namespace may have, each with the largest template."""

    def template(number: int) -> str:
        text = f"{EMOJI}{number} $(ACCESS_TOKEN) "
        return text + "t" * (MAX_TEMPLATE - len(text.encode()))

    volumes: list[Volume] = []
    while (left := limits.volumes_per_namespace + MORE - len(volumes)) > 0:
        numbers = range(len(volumes), len(volumes) + min(left, limits.volumes_per_pod))
        secrets = [f"s-{number % limits.secrets_per_namespace}" for number in numbers]
        pod = role.create_pod(HOSTILE, *secrets)
        volumes += [
            Volume(pod, number, secret, template(number))
            for number, secret in zip(numbers, secrets, strict=True)
        ]
    return volumes


class NodeRun(contextlib.ExitStack):
    """The node, its API server, and the tenants' Secrets and pods."""

    def __init__(
        self, plane: ControlPlane, folder: Path, scale: NodeScale, say: Callable[[str], object]
    ) -> None:
        super().__init__()
        self._scale, self._say = scale, say
        self._role = self.enter_context(contextlib.closing(NodeRole(plane, folder)))
        limit = memory_limit("node")
        self._cgroup = self.enter_context(memory_cgroup("node", limit))
        self._node = LimitedNode(self._role, 0)
        self.callback(self._node.close)
        self._node.prefix = self._cgroup.prefix
        self._node.flags = tuple(
            f"--{name.replace('_', '-')}={getattr(scale.limits, name)}"
            for name in scale.limits.__dataclass_fields__
        )
        self._hostile = hostile_volumes(self._role, scale.limits)
        secrets = [f"s-{number}" for number in range(scale.tokens)]
        pod = self._role.create_pod(VICTIM, *secrets)
        self._victim = [Volume(pod, number, secret) for number, secret in enumerate(secrets)]
        self._log = self._node.root / "log"
        self._generations = itertools.count(1)
        self._edits = 0

    def run(self, report: Report) -> None:
        """Publish all volumes, start the plugin again, and measure."""
        self._node.start()
        for volumes, size in ((self._victim, 100), (self._hostile, MAX_ACCESS_TOKEN)):
            self._each({v.source: v for v in volumes}.values(), partial(self._write, size=size))
            answers = Counter(self._each(volumes, self._publish))
            what = f"volumes of {volumes[0].pod.namespace}"
            report.add(what, _counts(answers))
            self._say(f"{what}: {_counts(answers)}")
            self._check_volumes(report, what, answers[PUBLISHED], volumes)
        self._node.stop()
        self._log.unlink()
        self._node.start()
        self._say("the plugin has started again beside all that")
        with self._held(), self._edited(), probed(self._log) as probes:
            lateness = self._rotate()
        edits = self._edits / self._scale.seconds
        report.add("new tokens of the hostile tenant", f"{edits:.1f} each second")
        report.add_lateness("lateness of the victim's files", lateness)
        report.add("memory of the node plugin", f"{self._cgroup.peak:.0f} MiB at most")
        report.add("health of the node plugin", spread(probes))
        report.require("a file of the victim has expired", holds=max(lateness) < LEAD)
        report.require("the plugin has ended", holds=self._node.is_running())
        report.require("the plugin was killed for its memory", holds=self._cgroup.kills == 0)

    def _check_volumes(
        self, report: Report, what: str, published: int, volumes: Sequence[Volume]
    ) -> None:
        if volumes is self._victim:
            report.require(f"{what} are refused", holds=published == len(volumes))
        else:
            # Fewer, if the token file system is full; calls side by side do not count each other.
            most = self._scale.limits.volumes_per_namespace + CALLS
            report.require(f"{what} are more than the cap", holds=published < most)

    def _rotate(self) -> list[float]:
        """Refresh the victim's tokens in turn; return how late each reached its file."""
        end = time.monotonic() + self._scale.seconds
        lateness: list[float] = []
        pause = threading.Event()
        for volume in itertools.cycle(self._victim):
            if time.monotonic() >= end:
                return lateness
            pause.wait(REFRESH_PAUSE)
            value, written_at = self._write(volume, 100)
            file = volume.file(self._node)
            until(lambda f=file, v=value: f.read_text("utf-8") == v, f"{file}", LEAD, 0.005)  # type: ignore[misc]
            lateness.append(time.time() - written_at)
        raise AssertionError("the victim has no volumes")

    def _write(self, volume: Volume, size: int) -> tuple[str, float]:
        """Write a new token as the refresher does; return it and when it was written."""
        generation = next(self._generations)
        value = f"at-{generation}-".ljust(size, "x")
        made = token(value, left=LIFETIME, lifetime=LIFETIME)
        new = companion(made, generation, source=volume.source)
        self._role.write_companion(new, volume.source)
        return value, made.written_at

    def _publish(self, volume: Volume) -> str:
        try:
            self._node.publish(volume.request(self._node))
        except grpc.RpcError as error:
            return str(error.code().name)
        return PUBLISHED

    def _each(self, volumes: Iterable[Volume], do: Callable[[Volume], Any]) -> list[Any]:
        with ThreadPoolExecutor(CALLS) as pool:
            return list(pool.map(do, volumes))

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Let a reader of hostile files hold them open, with read leases that he takes again."""
        files = [str(volume.file(self._node)) for volume in self._hostile[: self._scale.held]]
        program = [sys.executable, "-m", lease_holder.__name__, *files]
        with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=ROOT) as holder:  # noqa: S603
            try:
                assert holder.stdout is not None
                held = int(holder.stdout.readline())
                self._say(f"{held} files are held open, with read leases")
                yield
                assert holder.poll() is None
            finally:
                holder.kill()

    @contextlib.contextmanager
    def _edited(self) -> Iterator[None]:
        """Give the hostile Secrets new tokens all the time."""
        stop = threading.Event()
        volumes = random.Random(1).sample(self._hostile, len(self._hostile))  # noqa: S311

        def edit() -> None:
            for volume in itertools.cycle(volumes):
                if stop.wait(1 / self._scale.edits_per_second):
                    return
                self._write(volume, MAX_ACCESS_TOKEN)
                self._edits += 1

        editor = threading.Thread(target=edit, name="hostile")
        editor.start()
        try:
            yield
        finally:
            stop.set()
            editor.join()


def _counts(answers: Counter[str]) -> str:
    return ", ".join(f"{count} {answer}" for answer, count in sorted(answers.items()))
