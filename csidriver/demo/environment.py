"""Everything the demo runs, inside its sandbox: server, roles, kubelet stand-in, readers."""

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
from csidriver.core.admission.review import inject
from csidriver.core.names import SourceRef
from csidriver.demo.display import Row
from csidriver.demo.families import Policy
from csidriver.demo.issuer import DEMO_CLIENT, DEMO_SEED, StrictIssuer
from csidriver.demo.kubelet import Container, Kubelet
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
    """A pod before and after the webhook's function."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]


class Environment(contextlib.ExitStack):
    """The running demo. Closing it ends everything, in the order a node would."""

    def __init__(self, root: Path, lifetime: float, stop: threading.Event) -> None:
        super().__init__()
        self.store = DirectoryStore(root / "store")
        self.issuer = StrictIssuer(clients=[DEMO_CLIENT], policy=Policy(lifetime=lifetime))
        self.kubelet = Kubelet(root / "kubelet", Mounts(), NAMESPACE)
        self.readers: list[ReaderProcess] = []
        self.roles: list[RoleProcess] = []
        self.written_at: dict[str, float] = {}
        self._root = root
        self._stop = stop

    def start_roles(self) -> str:
        """Start server, refresher and node plugin; returns the name the plugin registered under."""
        self.issuer.seed(DEMO_CLIENT.client_id, DEMO_SEED)
        self.enter_context(self.issuer)
        issuers = self._root / "issuers.yaml"
        entry = {"name": "demo", "issuer": self.issuer.url, "default": True, "internal": True}
        issuers.write_text(yaml.safe_dump({"issuers": [entry]}), encoding="utf-8")
        self.kubelet.prepare()
        store = f"dir:{self._root / 'store'}"
        self._start_role("refresher", ["--store", store, "--issuers", str(issuers)])
        node = ["--kubelet-dir", str(self.kubelet.root), "--view-dir", str(self._root / "view")]
        self._start_role("node", ["--store", store, *node, "--node-id", "demo-node"])
        name = self.kubelet.register(self._stop, START_TIMEOUT, self.check)
        self.callback(self.kubelet.stop)
        self._watch_for_writes()
        return name

    def apply_secret(self) -> None:
        """What `kubectl apply -f examples/hello-token.yaml` does."""
        for manifest in load_example("hello-token.yaml"):
            self.store.apply(manifest, NAMESPACE)

    def wait_until_ready(self) -> None:
        """Wait until the refresher has proved the Secret. Raises DriverError when it does not."""
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
        """Pass the example pods through the webhook's function; other objects are applied."""
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
        """Have the kubelet stand-in start the pods, and a reader in each container."""
        containers = []
        for pod in admitted:
            for container in self.kubelet.start(pod.after, self._root / "containers"):
                containers.append(container)
                self._start_reader(container, pod.after)
        return containers

    def check(self) -> None:
        """Raises DriverError if a process has ended."""
        for role in self.roles:
            role.check()
        for reader in self.readers:
            reader.check()

    def report(self) -> Report:
        """The numbers so far."""
        node = next(role for role in self.roles if role.name == "node").metrics()
        rewrites = {
            outcome: int(node.get(f"oauth2_csi_node_rewrites_total{{{outcome}}}", 0))
            for outcome in ("leased", "unleased")
        }
        reports = [reader.report() for reader in self.readers]
        totals = {
            key: sum(int(report.get(key, 0)) for report in reports)
            for key in ("reads", "torn", "expired", "inode_changes")
        }
        log = self.issuer.presentations()
        return Report(
            refreshes=sum(row.outcome is Outcome.ROTATED for row in log),
            rewrites=sum(rewrites.values()),
            leased_rewrites=rewrites["leased"],
            reads=totals["reads"],
            torn_reads=totals["torn"],
            expired_reads=totals["expired"],
            inode_changes=totals["inode_changes"],
            max_presentations_per_refresh_token=self.issuer.max_presentations(),
            publish_ms=round(
                1000 * percentile(self.kubelet.call_seconds.get("NodePublishVolume", []), 0.5), 3
            ),
            propagation_ms_p99=round(
                1000 * percentile(propagation_seconds(reports, self.written_at), 0.99), 3
            ),
        )

    def rows(self) -> list[Row]:
        """The table: what each reader sees now."""
        companion = self.store.get_secret(core_names.TOKENS_NAMESPACE, SOURCE.companion)
        annotation_values = {} if companion is None else companion.annotations
        return [
            Row(
                pod=reader.name,
                owner=report["owner"],
                inode=report["inode"],
                generation=int(annotation_values.get(annotations.GENERATION, 0)),
                expires_in=report["expires_at"] - time.time(),
                reads=report["reads"],
                bad_reads=report["torn"] + report["expired"] + report["inode_changes"],
            )
            for reader in self.readers
            if (report := reader.report())
        ]

    def stop_readers(self) -> None:
        """End the readers; what they reported last stays."""
        for reader in self.readers:
            reader.stop()

    def _start_role(self, name: str, arguments: list[str]) -> None:
        role = RoleProcess(name, self._root / f"{name}.log", arguments)
        self.callback(role.stop)
        self.roles.append(role)

    def _start_reader(self, container: Container, pod: Mapping[str, Any]) -> None:
        prefix, suffix = self._text_around_token(pod)
        parameters = {
            "path": str(container.root / TOKEN_FILE),
            "key": self.issuer.signing_key.hex(),
            "prefix": prefix,
            "suffix": suffix,
        }
        reader = ReaderProcess(container.pod, parameters)
        self.callback(reader.stop)
        self.readers.append(reader)

    def _text_around_token(self, pod: Mapping[str, Any]) -> tuple[str, str]:
        """The text before and after the token in a pod's file, from its template."""
        names = [
            v["csi"]["volumeAttributes"].get("templateConfigMapName")
            for v in pod["spec"]["volumes"]
            if "csi" in v
        ]
        data = self.store.get_config_map(NAMESPACE, names[0]) if names[0] else None
        template = "$(ACCESS_TOKEN)" if data is None else data[core_names.TEMPLATE_KEY]
        prefix, _, suffix = template.partition("$(ACCESS_TOKEN)")
        return prefix, suffix

    def _watch_for_writes(self) -> None:
        """Note when each token was written for the nodes."""
        ended = threading.Event()

        def watch() -> None:
            changes = self.store.watch_secret(core_names.TOKENS_NAMESPACE, SOURCE.companion, ended)
            for secret in changes:
                if secret is not None and "access_token" in secret.data:
                    at = float(secret.data["written_at"].reveal())
                    self.written_at.setdefault(secret.data["access_token"].hash(), at)

        thread = threading.Thread(target=watch, name="companion")
        thread.start()
        self.callback(thread.join)
        self.callback(ended.set)


def load_example(name: str) -> list[dict[str, Any]]:
    """The manifests of one example file."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]
