"""Pods on each node that read many token files, each of a Secret of its own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Manifest, until
from tests.e2e.readers import Reader, tally_of
from tests.e2e.user_namespace import CLIENT, UserNamespace, on, pod, python, secret, volume
from tests.issuer.issuer import ScriptedIssuer

_SCRIPT = (Path(__file__).parent / "pods/files_reader.py").read_text(encoding="utf-8")
# Keeps a pod, and what its containers said at their end, until somebody has seen it.
_FINALIZER = "tests.example.com/seen"


@dataclass(frozen=True, slots=True)
class FilesReader(Reader):
    """Names a pod that reads; see `pods/files_reader.py`."""

    def last_change(self) -> float:
        """Return when the last file got its newest token, in epoch seconds."""
        return float(tally_of(self.log())["changed"])

    def late_seconds(self, since: float) -> float:
        """Return for how long it has read expired tokens since a time."""
        late = self.tally()["late"]
        return float(sum(max(0.0, end - max(begin, since)) for begin, end in late))

    def delete(self) -> None:
        """Ask the pod to end, which takes its grace period."""
        self.user.kubectl("delete", "pod", self.name, "--wait=false")

    def end(self, seconds: float) -> dict[str, Any]:
        """Wait until a pod has ended that was deleted; return its last totals, and let it go."""

        def message() -> str:
            (status,) = self.user.get("pod", self.name)["status"]["containerStatuses"]
            assert status["restartCount"] == 0
            return str(status["state"].get("terminated", {}).get("message", ""))

        found = until(f"{self.name} ends", message, seconds)
        patch = json.dumps({"metadata": {"finalizers": None}})
        self.user.kubectl("patch", "pod", self.name, "--type=merge", f"--patch={patch}")
        return dict(json.loads(found))


@dataclass(frozen=True, slots=True)
class Secrets:
    """So many Secrets of a namespace with tokens of the issuer `named`, `named`-0 and so on."""

    user: UserNamespace
    issuer: ScriptedIssuer
    named: str
    count: int

    def apply(self) -> None:
        """Make them, and wait for their tokens."""
        names = [f"{self.named}-{number}" for number in range(self.count)]
        logins = ((name, self.issuer.seed(CLIENT)) for name in names)
        self.user.apply(*(secret(name, login, issuer=self.named) for name, login in logins))
        for name in names:
            self.user.wait_for_status(name, "Ready")

    def read(
        self, kind: str, nodes: Sequence[str], *, seconds_after_sigterm: float = 0
    ) -> list[FilesReader]:
        """Start a pod on each node that reads a file of each Secret.

        Its grace period is 10 seconds longer than it reads on after SIGTERM.
        """
        readers = [FilesReader(self.user, f"{kind}-{node}", node) for node in nodes]
        for reader in readers:
            manifest = pod(
                reader.name,
                main=self._container(str(seconds_after_sigterm)),
                volumes=[self._volume(number) for number in range(self.count)],
                terminationGracePeriodSeconds=int(seconds_after_sigterm) + 10,
                **on(reader.node),
            )
            manifest["metadata"]["finalizers"] = [_FINALIZER]
            self.user.apply(manifest)
        for reader in readers:
            self.user.wait_until_running(reader.name)
            until("it reads", reader.log)
        return readers

    def _container(self, seconds_after_sigterm: str) -> Manifest:
        key, numbers = self.issuer.signing_key.hex(), range(self.count)
        paths = [f"/tokens/{number}/token" for number in numbers]
        mounts = [{"name": f"t{each}", "mountPath": f"/tokens/{each}"} for each in numbers]
        command = python(self.user.cluster.image, _SCRIPT, key, seconds_after_sigterm, *paths)
        return command | {"volumeMounts": mounts}

    def _volume(self, number: int) -> Manifest:
        return volume(f"{self.named}-{number}", owner="65532") | {"name": f"t{number}"}
