"""A node with the chart's memory, between the pods of a hostile tenant and those of a victim."""

import contextlib
import copy
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from csidriver.config import NodeLimits
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import MAX_ACCESS_TOKEN
from csidriver.core.names import SourceRef
from csidriver.core.volume.template import MAX_TEMPLATE
from tests.cluster.controlplane import ControlPlane
from tests.cluster.installation import memory_limit
from tests.cluster.limited_node import LimitedNode
from tests.cluster.noderole import NodeRole
from tests.cluster.tenants.hostile_namespace import EMOJI
from tests.cluster.tenants.measuring import Report, meanwhile
from tests.memory_cgroup import memory_cgroup
from tests.node.plugin import companion, token
from tests.waiting import until

HOSTILE, VICTIM = "mallory", "victim"
LIFETIME, LEAD = 300.0, 120.0  # of the victim's tokens; they are refreshed so long before the end
REFRESH_PAUSE = 0.2  # seconds between two of the victim's refreshes
PUBLISHED = "published"
CALLS = 4  # that kubelet makes at a time
MOST_OPEN = 50  # files of the plugin
MORE = 10  # volumes above the cap of a namespace


@dataclass(frozen=True, slots=True)
class NodeScale:
    """The size of a run. The hostile tenant has all volumes and Secrets that `limits` allow."""

    seconds: float = 60.0
    tokens: int = 20
    limits: NodeLimits = field(default_factory=NodeLimits)
    edits_per_second: float = 20.0


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

    @property
    def name(self) -> str:
        return f"{self.pod.namespace}-{self.number}"

    def file(self, node: LimitedNode) -> Path:
        return self._of_pod(node).file(self.name)

    def request(self, node: LimitedNode) -> Any:
        template = {"template": self.template} if self.template else {}
        return self._of_pod(node).request(self.name, {"secretName": self.source.name, **template})

    def _of_pod(self, node: LimitedNode) -> LimitedNode:
        """Return the node as this pod sees it."""
        seen = copy.copy(node)
        seen.pod = self.pod
        return seen


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

    def __init__(self, plane: ControlPlane, folder: Path, scale: NodeScale) -> None:
        super().__init__()
        self._scale = scale
        self._role = self.enter_context(contextlib.closing(NodeRole(plane, folder)))
        self._cgroup = self.enter_context(memory_cgroup("node", memory_limit("node")))
        flags = (
            f"--{name.replace('_', '-')}={getattr(scale.limits, name)}"
            for name in scale.limits.__dataclass_fields__
        )
        self._node = LimitedNode(self._role, self._cgroup.prefix, *flags)
        self.callback(self._node.close)
        self._hostile = hostile_volumes(self._role, scale.limits)
        secrets = [f"s-{number}" for number in range(scale.tokens)]
        pod = self._role.create_pod(VICTIM, *secrets)
        self._victim = [Volume(pod, number, secret) for number, secret in enumerate(secrets)]
        self._generations = itertools.count(1)
        self._edits = 0

    def run(self, report: Report) -> None:
        self._node.start()
        published = self._published(report, self._victim, 100)
        report.require("volumes of the victim are refused", holds=published == len(self._victim))
        published = self._published(report, self._hostile, MAX_ACCESS_TOKEN)
        # Fewer, if the token file system is full; calls side by side do not count each other.
        most = self._scale.limits.volumes_per_namespace + CALLS
        report.require("hostile volumes are more than the cap", holds=published < most)
        self._node.stop()
        self._node.start()
        with meanwhile(self._edit, "hostile"):
            lateness = self._rotate()
        edits = self._edits / self._scale.seconds
        report.add("new tokens of the hostile tenant", f"{edits:.1f} each second")
        report.add_lateness("lateness of the victim's files", lateness)
        report.add("memory of the node plugin", f"{self._cgroup.peak:.0f} MiB at most")
        report.require("a file of the victim has expired", holds=max(lateness) < LEAD)
        report.require("the plugin has ended", holds=self._node.is_running())
        # Whatever the number of Secrets: they share the connections to brokers.
        report.require("too many files are open", holds=self._node.open_files() < MOST_OPEN)
        report.require("the plugin was killed for its memory", holds=self._cgroup.kills == 0)

    def _published(self, report: Report, volumes: Sequence[Volume], size: int) -> int:
        self._each({v.source: v for v in volumes}.values(), partial(self._write, size=size))
        answers = Counter(self._each(volumes, self._publish))
        counts = ", ".join(f"{count} {answer}" for answer, count in sorted(answers.items()))
        report.add(f"volumes of {volumes[0].pod.namespace}", counts)
        return answers[PUBLISHED]

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

    def _edit(self, stop: threading.Event) -> None:
        volumes = random.Random(1).sample(self._hostile, len(self._hostile))  # noqa: S311
        for volume in itertools.cycle(volumes):
            if stop.wait(1 / self._scale.edits_per_second):
                return
            self._write(volume, MAX_ACCESS_TOKEN)
            self._edits += 1
