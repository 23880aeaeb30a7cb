"""The node role: builds the parts of the plugin and runs them."""

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
from csidriver.node.publish_wait import PublishWaitLimiter
from csidriver.node.registration import RegistrationService
from csidriver.node.rotation import Rotation
from csidriver.node.template_config_map import ConfigMaps
from csidriver.node.token_fs import Mounter, TokenFilesystem
from csidriver.node.volume_manager import VolumeManager

log = logging.getLogger(__name__)

# Seconds for running calls to end when the process stops.
GRACE = 1.0
# Seconds between two searches for folders that crashes have left behind.
SWEEP_EVERY = 600.0


class NodeStore(Companions, ConfigMaps, Protocol):
    """The backend as a node needs it."""


class NodePlugin:
    """One node plugin. `run` may be called once."""

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
        self._token_fs = TokenFilesystem(settings, mounter)
        self._watcher = CompanionWatcher(
            store,
            settings.tokens_namespace,
            self._request_rewrite,
            timing=WatchTiming(clock.monotonic),
            on_reconnect=metrics.count_watch_reconnect,
        )
        waits = PublishWaitLimiter(settings.publish_wait, THREADS // 2, clock)
        self._volumes = VolumeManager(self._token_fs, self._watcher, waits, store, clock, metrics)
        metrics.collect_remaining(self._volumes.remaining)
        self._rotation = Rotation(self._volumes, metrics, clock)
        self._registration = RegistrationService(str(settings.socket), self._on_refused)
        self._server = GrpcServer(
            ErrorInterceptor(metrics),
            IdentityService(),
            NodeService(self._volumes, node_id=settings.node_id, pods=settings.pods),
            self._registration,
        )

    def alive(self) -> list[str]:
        """Return problems that a restart may solve."""
        return socket_problems(self._settings.socket)

    def ready(self) -> list[str]:
        """Return problems that keep new pods from getting their tokens."""
        problems = self._token_fs.problems() + self._watcher.problems()
        if not self._registration.registered:
            problems.insert(0, "kubelet has not registered the plugin")
        return problems

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            DriverError: the node cannot be prepared, or kubelet refused the plugin.
        """
        self._stop = stop
        self._token_fs.prepare()
        rotation = threading.Thread(target=self._rotation.run, args=(stop,), name="rotation")
        rotation.start()
        try:
            self._volumes.recover()
            # Before the server starts: a publish of a volume that is swept would be ABORTED.
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
            rotation.join()
            self._token_fs.close()
        if self._refused:
            raise DriverError("kubelet refused to register the plugin; see the message above")

    def _request_rewrite(self, volume_ids: frozenset[str]) -> None:
        # Not the method itself: the watcher exists before the rotation does.
        self._rotation.request(volume_ids)

    def _on_refused(self) -> None:
        self._refused = True
        self._stop.set()
