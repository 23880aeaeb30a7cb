"""A token whose refresher tests can kill at any step and restart, with or without its spool."""

import itertools
import os
import select
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from csidriver.adapters.issuer_files import IssuerFiles
from csidriver.adapters.kubernetes import KubernetesClient, KubernetesStore, from_kubeconfig
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.effects import SpoolEntry
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.reconcile import reconcile
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.core.status import Status
from csidriver.demo.presentation_log import Presentation
from csidriver.refresher.effect_interpreter import Interpreter
from csidriver.refresher.spool import Spool
from tests.cluster.cluster import Cluster
from tests.cluster.killable_child import RefresherKillPlan
from tests.cluster.user_namespace import UserNamespace
from tests.node.killable_plugin import ForkServer
from tests.refresher.bench import Bench
from tests.waiting import until

NAME = "hello"
# Seconds the access token in hand lives, and what is left of it when a renewal begins.
LIFETIME, LEFT = 30.0, 8.0
# Seconds the next one lives: long, so that nothing happens after what is looked at.
NEXT = 3600.0
# Then an exchange gets 5 s, an intent counts for 15 s, and 7.5 s lie between two sends.
FLAGS = ("--takeover-after", "1", "--lease-duration", "8", "--lease-renew", "2")
_numbers = itertools.count()


@dataclass(frozen=True)
class KillTestSetup:
    """The shared parts of all cases: cluster, authorization server, fork server."""

    cluster: Cluster
    bench: Bench
    fork_server: ForkServer
    folder: Path
    # Starting is expensive: more processes at a time would delay each other's requests.
    starting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(3))


class KillableRefresher:
    """One annotated Secret and its refresher, in their own namespace.

    `live_hash` is the hash of the refresh token that the refresher presents next.
    """

    def __init__(self, setup: KillTestSetup) -> None:
        number = next(_numbers)
        self._setup, self._namespace = setup, f"killable-{number}"
        named = {"metadata": {"name": self._namespace}}
        setup.cluster.plane.api("POST", "/api/v1/namespaces", named)
        self.ref = SourceRef(self._namespace, NAME)
        self._namespaces = Namespaces(self._namespace, self._namespace, (self._namespace,))
        self.user = UserNamespace(setup.cluster, self._namespace, self._namespaces)
        self._folder = setup.folder / self._namespace
        self._folder.mkdir()
        self._steps, self._log = self._folder / "steps", self._folder / "log"
        self._pod_number, self._pid, self._pidfd = 0, 0, -1
        self.seed = setup.bench.issuer.seed("my-app")
        self.live_hash = self.seed.hash()
        self.user.create(NAME, self.seed)

    @property
    def spool(self) -> Path:
        return self._folder / f"spool-{self._pod_number}"

    def spool_entry(self) -> SpoolEntry | None:
        return Spool(self.spool).read(self.ref)

    def prepare_due_token(self) -> None:
        """Adopt and refresh the token in this process, then make its next refresh due."""
        admin = from_kubeconfig(self._setup.cluster.plane.kubeconfig)
        store = KubernetesStore(KubernetesClient(admin), self._namespaces)
        ports = self._setup.bench.ports(lambda: True, self._folder / "book", store)
        issuers = IssuerFiles([self._setup.bench.issuers]).current()
        namespace = self._namespace
        context = RefreshContext(
            issuers, "book", driver_namespace=namespace, tokens_namespace=namespace
        )
        interpreter = Interpreter(ports)

        def refreshed() -> TokenState | None:
            # An intent that took long to store is not followed by a request, but by another one.
            state = interpreter.run(reconcile(TokenState(self.ref), context))
            return state if state.grant is not None and state.grant.generation == 2 else None

        state = until(refreshed, "the first refresh", pause=0.3)
        now = time.time()
        started = now + LEFT - LIFETIME
        due = replace(state.grant, issued_at=started, expires_at=now + LEFT, next_refresh=now)
        store.patch_secret(state.grant_secret, SecretPatch(data=dict(grant_secret.to_data(due))))
        self.live_hash = due.live_hash

    def launch(self, at: int = -1, *, watched: bool = True) -> None:
        """Start a process. If `watched` its steps are recorded; it dies before step `at`."""
        assert not self._pid
        # Threads are called `refresh-` and `request`.
        port = int(self._setup.bench.issuer.url.rpartition(":")[2])
        plan = RefresherKillPlan(str(self.spool), str(self._steps), "re", at, port)
        arguments = ["refresher", "--store", "kubernetes", "--listen", "127.0.0.1:0", *FLAGS]
        arguments += ["--kubeconfig", str(self._setup.cluster.plane.kubeconfig)]
        arguments += ["--namespace", self._namespace, "--issuers", str(self._setup.bench.issuers)]
        arguments += ["--driver-namespace", self._namespace, "--tokens-namespace", self._namespace]
        arguments += ["--spool-dir", str(self.spool), "--identity", f"pod-{self._pod_number}"]
        self._pid = self._setup.fork_server.request(
            arguments=arguments, log=str(self._log), plan=asdict(plan) if watched else None
        )
        self._pidfd = os.pidfd_open(self._pid)

    def log(self) -> str:
        return self._log.read_text("utf-8")

    def recorded_steps(self) -> list[str]:
        return self._steps.read_text("utf-8").splitlines() if self._steps.exists() else []

    def wait_until_killed(self) -> None:
        """Wait until the process has ended by SIGKILL."""
        assert select.select([self._pidfd], [], [], 120)[0], f"it does not die:\n{self.log()}"
        status = self._setup.fork_server.request(wait=self._pid)
        os.close(self._pidfd)
        self._pid, self._pidfd = 0, -1
        assert status == -signal.SIGKILL, f"it ended with {status}:\n{self.log()}"

    def close(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self.wait_until_killed()

    def replace_pod(self) -> None:
        """Give the next process an empty spool, like that of another pod."""
        self._pod_number += 1

    def wait_until_done(self) -> None:
        """Wait until the token is refreshed or lost, and node and user can see it."""

        def is_done() -> bool:
            grant = self.grant()
            if grant is None or not self.user.is_final(NAME):
                return False
            is_lost = grant.status is Status.LOST_ROTATION
            return is_lost or (grant.live_hash != self.live_hash and self.user.is_mirrored(NAME))

        # Many cases wait at the same time: frequent requests would slow the refreshers.
        until(is_done, f"an end, see {self._log}", 300.0, pause=0.3)

    def grant(self) -> Grant | None:
        return self.user.grant(NAME)

    def outcomes(self) -> list[str]:
        """Return what became of the presentations of the token `live_hash`."""
        return [row.outcome for row in self.presentations() if row.token_hash == self.live_hash]

    def presentations(self) -> Sequence[Presentation]:
        """Return all presentations of this login's refresh tokens, oldest first."""
        names, rows = {self.seed.hash()}, []
        for row in self._setup.bench.issuer.presentations():
            if row.token_hash in names:
                rows.append(row)
                names.add(row.successor_hash)
        return rows
