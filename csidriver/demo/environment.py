"""The processes and threads of the demo: server, roles, kubelet stand-in, readers."""

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.mounts import Mounts
from csidriver.core import annotations
from csidriver.core import names as core_names
from csidriver.core.admission.inject import inject
from csidriver.core.companion import Companion
from csidriver.core.names import SourceRef
from csidriver.demo.display import BAD_READS, Row
from csidriver.demo.families import SCOPE
from csidriver.demo.issuer import DEMO_CLIENT, DEMO_SEED, LOGIN_CLIENT, StrictIssuer
from csidriver.demo.kubelet import Container, Kubelet
from csidriver.demo.login import log_in_at
from csidriver.demo.presentation_log import Outcome
from csidriver.demo.processes import ReaderProcess, RoleProcess
from csidriver.demo.report import Report, percentile, propagation_seconds
from csidriver.errors import DriverError

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMESPACE = "default"
SOURCE = SourceRef(NAMESPACE, "hello-token")
TOKEN_FILE = "tmp/oauthtk_0"  # noqa: S105 - a path
START_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class AdmittedPod:
    """A pod before and after admission."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]


class Environment(contextlib.ExitStack):
    """The running demo. `close` ends all its parts, in the order of a node's shutdown."""

    def __init__(self, root: Path, lifetime: float, stop: threading.Event) -> None:
        super().__init__()
        self.store = DirectoryStore(root / "store")
        self.issuer = StrictIssuer(clients=[DEMO_CLIENT, LOGIN_CLIENT], lifetime=lifetime)
        self.kubelet = Kubelet(root / "kubelet", Mounts(), NAMESPACE)
        self.readers: list[ReaderProcess] = []
        self.roles: list[RoleProcess] = []
        self.written_at: dict[str, float] = {}
        self._secrets = load_example("hello-token.yaml")
        self._root = root
        self._stop = stop

    def start_roles(self) -> str:
        """Start server, refresher and node plugin; return the plugin's registered name."""
        self.issuer.seed(DEMO_CLIENT.client_id, DEMO_SEED)
        self.enter_context(self.issuer)
        issuers = self._root / "issuers.yaml"
        entry = {"name": "demo", "issuer": self.issuer.url, "default": True, "internal": True}
        login = {"clientID": LOGIN_CLIENT.client_id, "scopes": SCOPE.split(), "deviceFlow": True}
        configuration = {"issuers": [{**entry, "login": login}]}
        issuers.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        self.kubelet.prepare()
        store = f"dir:{self._root / 'store'}"
        self._start_role("refresher", ["--store", store, "--issuers", str(issuers)])
        node = ["--kubelet-dir", str(self.kubelet.root), "--view-dir", str(self._root / "view")]
        self._start_role("node", ["--store", store, *node, "--node-id", "demo-node"])
        name = self.kubelet.register(self._stop, START_TIMEOUT, self.check)
        self.callback(self.kubelet.stop)
        return name

    def log_in(self) -> None:
        """Let the user log in; the tokens take the place of the example's."""
        self._secrets = [log_in_at(self.issuer.url, SOURCE, self._stop)]

    def apply_secret(self) -> None:
        """Do what `kubectl apply -f examples/hello-token.yaml` does, or the login."""
        for manifest in self._secrets:
            self.store.apply(manifest, NAMESPACE)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._stop.wait(0.02):
            secret = self.store.get_secret(SOURCE.namespace, SOURCE.name)
            status = "" if secret is None else secret.annotations.get(annotations.STATUS, "")
            if status == "Ready" and secret and annotations.REFRESHED_AT in secret.annotations:
                return
            self.check()
            if time.monotonic() > deadline:
                raise DriverError(f"Secret {SOURCE} is {status or 'untouched'}, not Ready")

    def admit_pods(self) -> list[AdmittedPod]:
        """Pass the example pods through admission; apply the other example objects."""
        admitted = []
        for manifest in [
            *load_example("announcement/token-printer.yaml"),
            *load_example("announcement/eos.yaml"),
        ]:
            if manifest["kind"] == "Pod":
                admitted.append(AdmittedPod(manifest, inject(manifest).pod))
            else:
                self.store.apply(manifest, NAMESPACE)
        return admitted

    def start_pods(self, admitted: Sequence[AdmittedPod]) -> list[Container]:
        containers = []
        for pod in admitted:
            for container in self.kubelet.start(pod.after, self._root / "containers"):
                containers.append(container)
                self._start_reader(container, pod.after)
        return containers

    def check(self) -> None:
        for role in self.roles:
            role.check()
        for reader in self.readers:
            reader.check()

    def report(self) -> Report:
        self._read_companion()
        node = next(role for role in self.roles if role.name == "node").metrics()
        leased, unleased = (
            int(node.get(f"oauth2_csi_node_rewrites_total{{{outcome}}}", 0))
            for outcome in ("leased", "unleased")
        )
        reports = [reader.report for reader in self.readers]
        publishes = self.kubelet.call_seconds.get("NodePublishVolume", [])
        propagations = propagation_seconds(reports, self.written_at)

        def total(key: str) -> int:
            return sum(int(report.get(key, 0)) for report in reports)

        return Report(
            refreshes=sum(row.outcome == Outcome.ROTATED for row in self.issuer.presentations()),
            rewrites=leased + unleased,
            leased_rewrites=leased,
            reads=total("reads"),
            torn_reads=total("torn"),
            expired_reads=total("expired"),
            inode_changes=total("inode_changes"),
            max_presentations_per_refresh_token=self.issuer.max_presentations(),
            publish_ms=round(1000 * percentile(publishes, 0.5), 3),
            propagation_ms_p99=round(1000 * percentile(propagations, 0.99), 3),
        )

    def rows(self) -> list[Row]:
        companion = self._read_companion()
        return [
            {
                "pod": reader.name,
                "token file": report["owner"],
                "inode": str(report["inode"]),
                "generation": str(companion.generation if companion else 0),
                "expires in": f"{report['expires_at'] - time.time():.0f} s",
                "reads": f"{report['reads']:,}",
                BAD_READS: str(report["torn"] + report["expired"] + report["inode_changes"]),
            }
            for reader in self.readers
            if (report := reader.report)
        ]

    def stop_readers(self) -> None:
        """Stop the readers; their last reports stay available."""
        for reader in self.readers:
            reader.stop()

    def _start_role(self, name: str, arguments: list[str]) -> None:
        role = RoleProcess(name, self._root / f"{name}.log", arguments)
        self.callback(role.stop)
        self.roles.append(role)

    def _start_reader(self, container: Container, pod: Mapping[str, Any]) -> None:
        parameters = {
            "path": str(container.root / TOKEN_FILE),
            "key": self.issuer.signing_key.hex(),
            "template": self._template(pod),
        }
        reader = ReaderProcess(container.pod, parameters)
        self.callback(reader.stop)
        self.readers.append(reader)

    def _template(self, pod: Mapping[str, Any]) -> str:
        names = [
            v["csi"]["volumeAttributes"].get("templateConfigMapName")
            for v in pod["spec"]["volumes"]
            if "csi" in v
        ]
        data = self.store.get_config_map(NAMESPACE, names[0]) if names[0] else None
        return "$(ACCESS_TOKEN)" if data is None else data[core_names.TEMPLATE_KEY]

    def _read_companion(self) -> Companion | None:
        secret = self.store.get_secret(core_names.TOKENS_NAMESPACE, SOURCE.companion)
        companion = None if secret is None else Companion.from_secret(secret)
        if companion and companion.token:
            self.written_at[companion.token.value.hash()] = companion.token.written_at
        return companion


def load_example(name: str) -> list[dict[str, Any]]:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]
