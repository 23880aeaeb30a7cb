"""The node role: builds the parts of the plugin and runs them."""

import logging
import threading
from concurrent import futures
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry

from csidriver._proto import csi_pb2_grpc
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc
from csidriver.clock import Clock
from csidriver.config import NodeSettings
from csidriver.errors import DriverError
from csidriver.node.companion_watcher import CompanionSource, CompanionWatcher
from csidriver.node.companions.broker_client import BrokerClient
from csidriver.node.companions.secret_watches import NodeStore, SecretWatches
from csidriver.node.error_interceptor import ErrorInterceptor
from csidriver.node.grpc_server import GrpcServer
from csidriver.node.health import socket_problems
from csidriver.node.identity_service import IdentityService
from csidriver.node.metrics import NodeMetrics
from csidriver.node.node_service import NodeService
from csidriver.node.publish_wait import PublishWaitLimiter
from csidriver.node.registration import RegistrationService
from csidriver.node.rotation import Rotation
from csidriver.node.token_fs import TokenFilesystem
from csidriver.node.token_mount import Mounter, mount_of
from csidriver.node.volume_manager import VolumeManager

log = logging.getLogger(__name__)

# Kubelet calls for one volume at a time per pod; half of the threads may wait for tokens.
THREADS = 16
# Seconds for running calls to end when the process stops.
GRACE = 1.0
# Seconds between two checks of what the plugin needs on the node.
CHECK_EVERY = 3.0
# Seconds between two searches for folders that crashes have left behind.
SWEEP_EVERY = 600.0


class NodePlugin:
    """One node plugin. `run` may be called once."""

    def __init__(
        self,
        settings: NodeSettings,
        backend: NodeStore | BrokerClient,
        mounter: Mounter,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._settings = settings
        self._mounter = mounter
        self._clock = clock
        metrics = NodeMetrics(registry)
        self._token_fs = TokenFilesystem(settings, mounter)
        companions: CompanionSource
        self._brokers = None
        if isinstance(backend, BrokerClient):
            companions = self._brokers = backend
        else:
            companions = SecretWatches(backend, settings.tokens_namespace)
        self._watcher = CompanionWatcher(companions, self._request_rewrite, clock, metrics)
        waits = PublishWaitLimiter(settings.publish_wait, THREADS // 2, clock)
        self._volumes = VolumeManager(
            self._token_fs, self._watcher, waits, companions, clock, metrics
        )
        metrics.collect_remaining(self._volumes.remaining)
        self._rotation = Rotation(self._volumes, metrics, clock)
        self._registration = RegistrationService(str(settings.socket), metrics.registered.set)
        self._interceptor = ErrorInterceptor(metrics)
        self._csi = GrpcServer(settings.socket, self._new_server)
        self._registrar = GrpcServer(settings.registration_socket, self._new_server)

    def alive(self) -> list[str]:
        """Return problems that a restart may solve."""
        missing = [f"{self._registrar.socket} is missing"] if self._registrar.is_missing() else []
        return socket_problems(self._csi.socket) + missing + self._token_fs.mount.problems()

    def ready(self) -> list[str]:
        """Return problems that keep new pods from getting their tokens."""
        return self._registration.problems + self._token_fs.problems() + self._watcher.problems()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            DriverError: the node cannot be prepared, or something was lost that only a restart
                mends.
        """
        self._token_fs.mount.prepare()
        rotation = threading.Thread(target=self._rotation.run, args=(stop,), name="rotation")
        rotation.start()
        if self._brokers is not None:
            self._brokers.start()
        try:
            self._volumes.recover()
            # Before the server starts: a publish of a volume that is swept would be ABORTED.
            self._volumes.sweep(stop)
            folders = self._folders()
            # CSI first: kubelet calls it as soon as it finds the registration socket.
            self._csi.start()
            self._registrar.start()
            swept = self._clock.monotonic()
            while not stop.wait(CHECK_EVERY):
                self._mend(folders)
                if self._clock.monotonic() - swept >= SWEEP_EVERY:
                    self._volumes.sweep(stop)
                    swept = self._clock.monotonic()
        finally:
            stop.set()
            self._volumes.cancel()
            self._registrar.stop(GRACE)
            self._csi.stop(GRACE)
            self._watcher.stop()
            if self._brokers is not None:
                self._brokers.stop()
            self._rotation.wake()
            rotation.join()
            self._token_fs.mount.close()

    def _mend(self, folders: dict[Path, str]) -> None:
        """Make again what somebody has removed; raise DriverError if only a restart can."""
        for folder, root in self._folders().items():
            if root != folders[folder]:
                # A container keeps the folder that it was started with.
                raise DriverError(f"{folder} was removed, renamed or covered on the node")
        self._token_fs.mount.mend()
        if self._csi.is_missing():
            self._csi.restart(GRACE)
        # After a refusal an older kubelet waits for a new socket. Kubelets pause up to two minutes
        # between two tries.
        if self._registrar.is_missing() or self._registration.refused:
            self._registration.reset()
            self._registrar.restart(GRACE)

    def _folders(self) -> dict[Path, str]:
        """Return kubelet's folders as this process has them mounted, and their places on the node.

        Such a place changes when somebody renames or removes the folder (proc(5), mountinfo).
        """
        settings, table = self._settings, self._mounter.table()
        folders = (settings.plugin_dir, settings.pods, settings.registration_socket.parent)
        return {folder: mount_of(table, folder).root for folder in folders}

    def _new_server(self) -> grpc.Server:
        settings = self._settings
        server = grpc.server(
            futures.ThreadPoolExecutor(THREADS, thread_name_prefix="rpc"),
            interceptors=[self._interceptor],
            options=[("grpc.so_reuseport", 0)],
        )
        csi_pb2_grpc.add_IdentityServicer_to_server(IdentityService(), server)
        service = NodeService(self._volumes, node_id=settings.node_id, pods=settings.pods)
        csi_pb2_grpc.add_NodeServicer_to_server(service, server)
        registration_pb2_grpc.add_RegistrationServicer_to_server(self._registration, server)
        return server

    def _request_rewrite(self, volume_ids: frozenset[str]) -> None:
        # Not the method itself: the watcher exists before the rotation does.
        self._rotation.request(volume_ids)
