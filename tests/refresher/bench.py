"""A refresher with everything real around it: files, HTTP, a strict server, threads."""

import contextlib
import json
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import SystemClock
from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.issuer_files import IssuerFiles
from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core import annotations as core_annotations
from csidriver.core import names
from csidriver.core.kubernetes.change import FindOwnWrite, SecretChange
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.schedule import RequestTimeouts
from csidriver.core.refresh.state import RefreshContext
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT
from csidriver.errors import StoreUnavailable
from csidriver.refresher.controller import Controller
from csidriver.refresher.effect_interpreter import Interpreter
from csidriver.refresher.metrics import RefresherMetrics
from csidriver.refresher.ports import Ports
from csidriver.refresher.spool import Spool
from tests.issuer.issuer import ScriptedIssuer
from tests.issuer.policy import Policy
from tests.kubectl_store import KubectlStore
from tests.waiting import TIMEOUT

NAMESPACE = "physics"
LONG = Policy(lifetime=3600.0)


def manifest(
    name: str,
    refresh_token: str,
    document: str | None = None,
    **annotations: str,
) -> dict[str, Any]:
    """A user's annotated Secret for the demo's client."""
    text = json.dumps({"refresh_token": refresh_token}) if document is None else document
    secret = DEMO_CLIENT.client_secret
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "annotations": {core_annotations.IS_TOKEN: "true"}
            | {f"{core_annotations.PREFIX}{key}": value for key, value in annotations.items()},
        },
        "stringData": {
            core_annotations.KEY_OAUTH: text,
            core_annotations.KEY_CLIENT_ID: DEMO_CLIENT.client_id,
            core_annotations.KEY_CLIENT_SECRET: "" if secret is None else secret.reveal(),
        },
    }


def commits(base: Secret, patch: SecretPatch) -> bool:
    state = patch.data.get(grant_secret.STATE)
    return (
        base.type == core_annotations.GRANT_SECRET_TYPE
        and state is not None
        and '"nonce"' not in state.reveal()
    )


class Backend(DirectoryStore):
    """The folder, whose patches fail as long as `broken` says.

    Of changes to which it is `deaf` no watch tells, but a list does; `lists` counts these.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, poll=0.01)
        self.broken: Callable[[Secret, SecretPatch], bool] = lambda _base, _patch: False
        self.lists = 0
        self.deaf: Callable[[SecretChange], bool] = lambda _change: False

    def watch_changes(
        self, stop: threading.Event, find_own: FindOwnWrite | None = None
    ) -> Generator[SecretChange | None, None, None]:
        listed = False
        for change in super().watch_changes(stop, find_own):
            if change is None:
                listed = True
                self.lists += 1
            if listed and change is not None and self.deaf(change):
                continue
            yield change

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        if self.broken(base, patch):
            raise StoreUnavailable("the test says so")
        return super().patch_secret(base, patch)


class Bench(contextlib.ExitStack):
    """Store, issuer and at most one running refresher in `folder`."""

    def __init__(self, folder: Path, policy: Policy = LONG) -> None:
        super().__init__()
        self.root = folder / "store"
        self.spool = folder / "spool"
        self.store = KubectlStore(self.root, poll=0.01)
        self.backend = Backend(self.root)
        self.issuer = ScriptedIssuer(clients=[DEMO_CLIENT], policy=policy)
        self.enter_context(self.issuer)
        self.issuers = folder / "issuers.yaml"
        self.configure(self.entry())
        self.registry = CollectorRegistry()
        self.clock = SystemClock()
        self.timeouts = RequestTimeouts()
        self._running: tuple[threading.Thread, threading.Event] | None = None
        self.callback(self.stop)

    def entry(self, **fields: Any) -> dict[str, Any]:
        own = {"name": "demo", "issuer": self.issuer.url, "default": True, "internal": True}
        return own | fields

    def configure(self, *entries: Mapping[str, Any]) -> None:
        draft = self.issuers.with_suffix(".draft")
        draft.write_text(yaml.safe_dump({"issuers": [dict(e) for e in entries]}), encoding="utf-8")
        draft.rename(self.issuers)

    def start(self, store: KubernetesStore | None = None, resync_seconds: float = 600.0) -> None:
        stop = threading.Event()
        controller = self.new_controller(lambda: not stop.is_set(), store, resync_seconds)
        thread = threading.Thread(target=controller.run, args=(stop,), name="refresher")
        thread.start()
        self._running = thread, stop

    def new_controller(
        self,
        may_send: Callable[[], bool],
        store: KubernetesStore | None = None,
        resync_seconds: float = 600.0,
    ) -> Controller:
        ports = self.ports(may_send, self.spool, store)
        return Controller(
            store or self.backend,
            Interpreter(ports),
            self.context("bench"),
            self.clock,
            ports.metrics,
            resync_seconds=resync_seconds,
        )

    def ports(
        self, may_send: Callable[[], bool], spool: Path, store: KubernetesStore | None = None
    ) -> Ports:
        # Threads of the kill test ask for ports of their own.
        self.registry = registry = CollectorRegistry()
        return Ports(
            store=store or self.backend,
            spool=Spool(spool),
            token_client=TokenEndpoints(),
            clock=self.clock,
            metrics=RefresherMetrics(registry),
            may_send=may_send,
        )

    def context(self, holder: str) -> Callable[[], RefreshContext]:
        files = IssuerFiles([self.issuers])
        return lambda: RefreshContext(files.current(), holder, self.timeouts)

    def ask_to_stop(self) -> None:
        if self._running:
            self._running[1].set()

    def stop(self) -> None:
        if self._running:
            (thread, stop), self._running = self._running, None
            stop.set()
            thread.join(TIMEOUT)
            assert not thread.is_alive(), "the refresher does not end"

    def apply(self, name: str, refresh_token: Sensitive, **annotations: str) -> None:
        self.store.apply(manifest(name, refresh_token.reveal(), **annotations), NAMESPACE)

    def source(self, name: str) -> Secret:
        found = self.store.get_secret(NAMESPACE, name)
        assert found is not None
        return found

    def status(self, name: str) -> str:
        found = self.store.get_secret(NAMESPACE, name)
        return "" if found is None else found.annotations.get(core_annotations.STATUS, "")

    def refreshed(self, name: str) -> bool:
        return (
            self.status(name) == "Ready"
            and core_annotations.REFRESHED_AT in self.source(name).annotations
        )

    def tokens(self, status: str) -> float | None:
        """How many the gauge shows in a status: of each, what its last visit left behind."""
        name = "oauth2_csi_refresher_tokens"
        return self.registry.get_sample_value(name, {"status": status})

    def companion(self, name: str) -> Secret | None:
        return self.store.get_secret(names.TOKENS_NAMESPACE, SourceRef(NAMESPACE, name).companion)

    def grant(self, name: str) -> Grant:
        found = self.store.get_secret(names.DRIVER_NAMESPACE, SourceRef(NAMESPACE, name).grant)
        assert found is not None
        return grant_secret.from_secret(found)

    def damage_grant(self, name: str) -> None:
        ref = SourceRef(NAMESPACE, name).grant
        self.store.edit(
            "Secret", names.DRIVER_NAMESPACE, ref, lambda text: text.replace("state: ", "state: A")
        )

    def outcomes(self) -> list[str]:
        return [row.outcome for row in self.issuer.presentations()]


Build = Callable[..., Bench]
