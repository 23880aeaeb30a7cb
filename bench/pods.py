"""Pods of the bench's node at a real API server: each has one volume, and is read by brokers."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

from bench.calls import pod_name
from bench.room import MEMORY
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import SourceRef
from csidriver.errors import DriverError
from tests.broker.fakes import pod_manifest
from tests.cluster.controlplane import ControlPlane

NODE_NAME = "bench"
# For other processes: the uids of pods, by the numbers of their volumes.
UIDS = MEMORY / "uids.json"
_THREADS = 4


class Pods:
    """Makes pods as an administrator. `uids` are by the numbers of their volumes."""

    def __init__(self, plane: ControlPlane) -> None:
        self.uids: dict[int, str] = {}
        self._url = plane.server
        self._headers = {
            "Authorization": plane.authorization,
            "Content-Type": "application/json",
        }
        self._pool = urllib3.PoolManager(ca_certs=str(plane.ca), maxsize=_THREADS)

    def make(self, volumes: Iterable[tuple[int, SourceRef]]) -> None:
        """Make the pods of these volumes that are not there yet."""
        missing = {number: ref for number, ref in volumes if number not in self.uids}
        if not missing:
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            made = pool.map(self._make, missing, missing.values())
            self.uids |= zip(missing, made, strict=True)
        UIDS.write_text(json.dumps(self.uids), encoding="ascii")

    def _make(self, number: int, ref: SourceRef) -> str:
        pod = PodRef(ref.namespace, pod_name(number), "")
        manifest = pod_manifest(pod, NODE_NAME, ref.name)
        manifest["spec"] |= {
            "containers": [{"name": "main", "image": "main"}],
            "automountServiceAccountToken": False,
        }
        path = f"{self._url}/api/v1/namespaces/{ref.namespace}/pods"
        answer = self._pool.request("POST", path, body=json.dumps(manifest), headers=self._headers)
        if answer.status != 201:  # noqa: PLR2004
            raise DriverError(f"pod {pod}: the API server answered {answer.status}")
        return str(answer.json()["metadata"]["uid"])


def known_uids(file: Path = UIDS) -> dict[int, str]:
    """Return the uids that another process has written."""
    return {int(number): uid for number, uid in json.loads(file.read_text("ascii")).items()}
