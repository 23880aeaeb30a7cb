"""The node role: puts the parts together, runs them until told to stop."""

import logging
import threading
from typing import Protocol

from prometheus_client import CollectorRegistry

from csidriver.clock import Clock
from csidriver.config import NodeSettings
from csidriver.errors import DriverError
from csidriver.node.companion_watcher import Companions, CompanionWatcher, WatchTiming
from csidriver.node.error_interceptor import ErrorInterceptor
from csidriver.node.grpc_server import THREADS, GrpcServer
from csidriver.node.health import socket_problems
from csidriver.node.identity_service import IdentityService
from csidriver.node.metrics import NodeMetrics
from csidriver.node.node_service import NodeService
from csidriver.node.registration import RegistrationService
from csidriver.node.rotation import Rotation
from csidriver.node.template_config_map import ConfigMaps
from csidriver.node.token_fs import Mounter, TokenFilesystem, TokenFilesystemSettings
from csidriver.node.volume_manager import Surroundings, VolumeManager

log = logging.getLogger(__name__)

# Seconds for running calls to end when the process stops.
GRACE = 1.0
# Seconds between two looks for what crashes have left behind.
SWEEP_EVERY = 600.0


class NodeStore(Companions, ConfigMaps, Protocol):
    """The backend as a node sees it."""


class NodePlugin:
    """One node plugin. `run` returns when `stop` is set; it may be called once."""

    def __init__(
        self,
        settings: NodeSettings,
        store: NodeStore,
        mounter: Mounter,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._settings = settings
        self._refused = False
        self._stop = threading.Event()
        metrics = NodeMetrics(registry)
        pods = settings.kubelet_dir / "pods"
        self._token_fs = TokenFilesystem(
            TokenFilesystemSettings(
                settings.plugin_dir,
                pods,
                settings.view,
                settings.size,
                settings.inodes,
                settings.selinux_context,
            ),
            mounter,
        )
        self._watcher = CompanionWatcher(
            store,
            settings.tokens_namespace,
            self._changed,
            timing=WatchTiming(clock.monotonic),
            on_reconnect=metrics.count_watch_reconnect,
        )
        surroundings = Surroundings(
            state=self._token_fs,
            config_maps=store,
            follower=self._watcher,
            clock=clock,
            metrics=metrics,
            publish_wait=settings.publish_wait,
            waiters=THREADS // 2,
        )
        self._volumes = VolumeManager(surroundings)
        metrics.collect_remaining(self._volumes.remaining)
        self._rotation = Rotation(self._volumes, metrics, clock)
        self._registration = RegistrationService(str(settings.socket), self._refuse)
        self._server = GrpcServer(
            ErrorInterceptor(metrics),
            IdentityService(),
            NodeService(self._volumes, node_id=settings.node_id, pods=pods),
            self._registration,
        )

    def alive(self) -> list[str]:
        """What a restart may mend; empty while all is well."""
        return socket_problems(self._settings.socket)

    def ready(self) -> list[str]:
        """What keeps new pods from getting their tokens; empty while all is well."""
        waiting = [] if self._registration.registered else ["kubelet has not registered the plugin"]
        return waiting + self._token_fs.problems() + self._watcher.problems()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            DriverError: the node cannot be prepared, or kubelet refused the plugin.
        """
        self._stop = stop
        self._token_fs.prepare()
        rotating = threading.Thread(target=self._rotation.run, args=(stop,), name="rotation")
        rotating.start()
        try:
            self._volumes.recover()
            # Before anybody calls: a publish of a volume that is being swept would be ABORTED.
            self._volumes.sweep(stop)
            self._server.start(self._settings.socket, self._settings.registration_socket)
            log.info("serving on %s", self._settings.socket)
            while not stop.wait(SWEEP_EVERY):
                self._volumes.sweep(stop)
        finally:
            stop.set()
            self._volumes.cancel()
            self._server.stop(GRACE)
            self._watcher.stop()
            self._rotation.wake()
            rotating.join()
            self._token_fs.close()
        if self._refused:
            raise DriverError("kubelet refused to register the plugin; see the message above")

    def _changed(self, volume_ids: frozenset[str]) -> None:
        self._rotation.request(volume_ids)

    def _refuse(self) -> None:
        self._refused = True
        self._stop.set()
