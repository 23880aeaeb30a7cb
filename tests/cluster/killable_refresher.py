"""A token whose refresher can be killed at any step and started again, with or without spool."""

import itertools
import os
import select
import signal
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import SystemClock
from csidriver.adapters.issuer_files import IssuerFiles
from csidriver.adapters.kubernetes import KubernetesClient, KubernetesStore, from_kubeconfig
from csidriver.adapters.oauth import TokenEndpoints
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
from csidriver.refresher.effect_interpreter import Interpreter, Ports
from csidriver.refresher.metrics import RefresherMetrics
from csidriver.refresher.spool import Spool
from tests.cluster.cluster import Cluster
from tests.cluster.killable_child import Doom
from tests.cluster.user_namespace import Tenant
from tests.node.killable_plugin import Zygote
from tests.refresher.bench import Bench, until

NAME = "hello"
# Seconds the access token in hand lives, and what is left of it when a renewal begins.
LIFETIME, LEFT = 30.0, 8.0
# Seconds the next one lives: long, so that nothing happens after what is looked at.
NEXT = 3600.0
# Then an exchange gets 1.9 s, an intent counts for 8.8 s, and 7.5 s lie between two sends.
FLAGS = ("--takeover-after", "1", "--lease-duration", "8", "--lease-renew", "2")
_numbers = itertools.count()


class Yard:
    """What all cases share: a cluster, an authorization server, a zygote."""

    def __init__(self, cluster: Cluster, bench: Bench, zygote: Zygote, folder: Path) -> None:
        self.cluster, self.bench, self.zygote, self.folder = cluster, bench, zygote, folder
        self.port = int(bench.issuer.url.rpartition(":")[2])
        self.client = KubernetesClient(from_kubeconfig(cluster.plane.kubeconfig))
        # A process that starts is busy; more at a time would make each other's exchanges late.
        self.starting = threading.Semaphore(3)


class Mortal:
    """One annotated Secret and its refresher, apart from all others: in a namespace of its own.

    `live` is the hash of the refresh token that is presented next.
    """

    def __init__(self, yard: Yard) -> None:
        number = next(_numbers)
        self._yard, self._namespace = yard, f"mortal-{number}"
        manifest = {"apiVersion": "v1", "kind": "Namespace"}
        manifest |= {"metadata": {"name": self._namespace}}  # type: ignore[dict-item]
        yard.cluster.plane.api("POST", "/api/v1/namespaces", manifest)
        self.ref = SourceRef(self._namespace, NAME)
        self._places = Namespaces(self._namespace, self._namespace, (self._namespace,))
        self.tenant = Tenant(yard.cluster, self._namespace, self._places)
        self._folder = yard.folder / self._namespace
        self._folder.mkdir()
        self._pods, self._pid, self._pidfd = 0, 0, -1
        self.seed = yard.bench.issuer.seed("my-app")
        self.live = self.seed.hash()
        self.tenant.put(NAME, self.seed)

    @property
    def spool(self) -> Path:
        return self._folder / f"spool-{self._pods}"

    def spooled(self) -> SpoolEntry | None:
        return Spool(self.spool).read(self.ref)

    def settle(self) -> None:
        """Have the token adopted and refreshed by the book, and due for its next refresh now."""
        store, clock = KubernetesStore(self._yard.client, self._places), SystemClock()
        world = Ports(
            store=store,
            spool=Spool(self._folder / "book"),
            token_client=TokenEndpoints(),
            clock=clock,
            metrics=RefresherMetrics(CollectorRegistry()),
            may_send=lambda: True,
        )
        issuers = IssuerFiles([self._yard.bench.issuers]).current()
        place = self._namespace
        rules = RefreshContext(issuers, "book", driver_namespace=place, tokens_namespace=place)
        known = Interpreter(world).run(reconcile(TokenState(self.ref), rules))
        assert known.grant is not None
        assert known.grant_secret is not None
        assert known.grant.generation == 2, known.grant.message
        now = clock.now()
        started = now + LEFT - LIFETIME
        due = replace(known.grant, issued_at=started, expires_at=now + LEFT, next_refresh=now)
        store.patch_secret(known.grant_secret, SecretPatch(data=dict(grant_secret.to_data(due))))
        self.live = due.live_hash

    def launch(self, at: int = -1, *, watched: bool = True) -> None:
        """Start a process. If `watched` its steps are recorded; it dies before step `at`."""
        assert not self._pid
        doom = Doom(str(self.spool), str(self._steps), self._yard.port, at) if watched else None
        arguments = ["refresher", "--store", "kubernetes", "--listen", "127.0.0.1:0", *FLAGS]
        arguments += ["--kubeconfig", str(self._yard.cluster.plane.kubeconfig)]
        arguments += ["--namespace", self._namespace, "--issuers", str(self._yard.bench.issuers)]
        arguments += ["--driver-namespace", self._namespace, "--tokens-namespace", self._namespace]
        arguments += ["--spool-dir", str(self.spool), "--identity", f"pod-{self._pods}"]
        self._pid = self._yard.zygote.ask(
            arguments=arguments, log=str(self._log), doom=asdict(doom) if doom else None
        )
        self._pidfd = os.pidfd_open(self._pid)

    @property
    def _steps(self) -> Path:
        return self._folder / "steps"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def log(self) -> str:
        return self._log.read_text("utf-8")

    def recorded(self) -> list[str]:
        return self._steps.read_text("utf-8").splitlines() if self._steps.exists() else []

    def bury(self) -> None:
        """The process ends by SIGKILL, and soon."""
        assert select.select([self._pidfd], [], [], 30)[0], f"it does not die:\n{self.log()}"
        status = self._yard.zygote.ask(wait=self._pid)
        os.close(self._pidfd)
        self._pid, self._pidfd = 0, -1
        assert status == -signal.SIGKILL, f"it ended with {status}:\n{self.log()}"

    def kill(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self.bury()

    def lose_pod(self) -> None:
        """The next process is another pod, whose spool is empty."""
        self._pods += 1

    def until_settled(self) -> None:
        """Wait until the token is refreshed or reported lost, to node and user alike."""

        def settled() -> bool:
            grant = self.grant()
            if grant is None or not self.tenant.ended(NAME):
                return False
            lost = grant.status is Status.LOST_ROTATION
            return lost or (grant.live_hash != self.live and self.tenant.mirrored(NAME))

        # Many wait side by side: asking all the time would keep what they wait for from coming.
        until(settled, f"an end, see {self._log}", 60.0, pause=0.3)

    def grant(self) -> Grant | None:
        return self.tenant.grant(NAME)

    def chain(self) -> Sequence[Presentation]:
        """All presentations of the login's tokens so far, oldest first."""
        names, rows = {self.seed.hash()}, []
        for row in self._yard.bench.issuer.presentations():
            if row.token_hash in names:
                rows.append(row)
                names.add(row.successor_hash)
        return rows
