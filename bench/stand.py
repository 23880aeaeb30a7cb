"""The test stand of the node plugin: API server, broker, companions, pods and volumes."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.calls import Caller
from bench.companions import NAMESPACE, Companions
from bench.pods import NODE_NAME, Pods
from bench.process import Plugin
from bench.room import MEMORY
from csidriver.adapters.mounts import Mounts
from csidriver.core import names
from csidriver.core.names import SourceRef
from csidriver.errors import DriverError
from tests.broker.running import HOST
from tests.cluster.broker_role import ADDRESS, BrokerRole, create_namespace
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tools.programs import find

SOURCES = tuple(SourceRef(NAMESPACE, f"source-{number}") for number in range(140))
# The address of the second broker, the files that it shares with the first one, and their names.
_SECOND = "127.0.0.2"
_FILES = {"cert": "crt", "key": "key"}
_HOSTS = MEMORY / "hosts"
# A volume is a number and its source.
Volume = tuple[int, SourceRef]
# Takes an RPC's name and its request, returns milliseconds.
Call = Callable[[str, Any], float]


def spread(numbers: range, companions: int) -> list[Volume]:
    """Volumes that take turns with so many companions."""
    return [(number, SOURCES[number % companions]) for number in numbers]


class Stand(contextlib.ExitStack):
    """A real API server with the roles of deploy/, a broker and all companions; at most one plugin.

    Closing it ends all of them. `say` is told what happens. Raises
    DriverError where a program is missing.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        if missing := [name for name in PROGRAMS if find(name) is None]:
            raise DriverError(f"{', '.join(missing)} missing; run `make tools`")
        self.say = say
        self.plane = plane = ControlPlane()
        self.callback(plane.close)
        say("starting etcd and kube-apiserver")
        plane.start()
        self._broker = broker = BrokerRole(plane, MEMORY)
        create_namespace(plane, NAMESPACE)
        owner = plane.api("GET", f"/api/v1/namespaces/{NAMESPACE}")["metadata"]["uid"]
        refresher = plane.service_account(names.DRIVER_NAMESPACE, "oauth2-csi-refresher")
        self.companions = Companions(plane.server, refresher, plane.ca, owner)
        self.companions.create(SOURCES)
        self.pods = Pods(plane)
        # A kubeconfig with what a broker may do.
        self.rights = plane.service_account(names.DRIVER_NAMESPACE, names.BROKER)
        say("starting the broker")
        flags = self._start_broker()
        token = MEMORY / "plugin-token"
        token.write_text(broker.plugin_token(NODE_NAME), encoding="ascii")
        self.plugin = Plugin(MEMORY, (*flags, "--broker-token", str(token)), NAMESPACE)
        self._caller: Caller | None = None
        self._published: set[int] = set()
        say("starting the plugin once, to compile it")
        self.start()
        self.stop()

    def start_second_broker(self) -> None:
        """Start another broker of the same name: the plugin keeps a stream to each."""
        files = [f"--tls-{kind}-file={MEMORY}/tls.{end}" for kind, end in _FILES.items()]
        self._second.start(f"--broker-listen={_SECOND}:{self._broker.port}", *files)
        self._show(ADDRESS, _SECOND)

    def stop_second_broker(self) -> None:
        self._show(ADDRESS)
        self._second.stop()

    def _start_broker(self) -> Sequence[str]:
        """Start a broker, and return the flags of a node."""
        folder = MEMORY / "second"
        folder.mkdir()
        self._second = BrokerRole(self.plane, folder)
        for broker in (self._broker, self._second):
            self.callback(broker.close)
        self._broker.start()
        self._show(ADDRESS)
        Mounts().bind(_HOSTS, Path("/etc/hosts"))
        return "--broker", f"{HOST}:{self._broker.port}", *self._broker.node_flags[2:]

    def _show(self, *addresses: str) -> None:
        """Let the name of the brokers have these addresses, as a headless Service does."""
        _HOSTS.write_text("".join(f"{each} {HOST}\n" for each in addresses), encoding="ascii")

    @property
    def caller(self) -> Caller:
        """Return a client of the running plugin."""
        if self._caller is None:
            raise RuntimeError("no plugin runs")
        return self._caller

    def start(self) -> float:
        """Start the plugin; seconds until it was registered."""
        took = self.plugin.start()
        pods = self.plugin.kubelet.root / "pods"
        self._caller = Caller(pods, self.plugin.socket, self.pods.uids)
        return took

    def stop(self) -> float:
        """Stop the plugin; seconds until it had ended. Volumes stay published, as on a node."""
        self.caller.close()
        self._caller = None
        return self.plugin.stop()

    def publish(self, volumes: Iterable[Volume], call: Call | None = None) -> list[float]:
        """Publish one volume after the other, in another way if `call` says so; milliseconds."""
        call, took = call or self.caller.call, []
        self.pods.make(volumes := list(volumes))
        for number, ref in volumes:
            request = self.caller.publish_request(number, ref)
            took.append(call("NodePublishVolume", request))
            self._published.add(number)
            if not self.file(number).exists():
                raise DriverError(f"volume {number} was not published")
        return took

    def unpublish(self, numbers: Iterable[int]) -> list[float]:
        """Unpublish one volume after the other; milliseconds of each."""
        took = []
        for number in numbers:
            request = self.caller.unpublish_request(number)
            took.append(self.caller.call("NodeUnpublishVolume", request))
            self._published.discard(number)
        return took

    def is_published(self, number: int) -> bool:
        """Return True if the volume is published."""
        return number in self._published

    def clear(self) -> None:
        """Unpublish every volume."""
        self.unpublish(sorted(self._published))

    def file(self, number: int) -> Path:
        """Return the path at which the pod sees its token file."""
        return self.caller.target(number) / "token"
