"""Properties of the store that only a real API server shows; tests/contract has the others."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import Queue
from typing import Any

import pytest

from csidriver.adapters.kubernetes import (
    KubernetesClient,
    KubernetesStore,
    Timeouts,
    from_kubeconfig,
)
from csidriver.core.annotations import IS_TOKEN
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.names import SourceRef
from csidriver.errors import StoreError, StoreUnavailable
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tests.refresher.bench import until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS, DRIVER = "carol", "oauth2-csi"
WAIT = 20.0  # seconds; only a defect waits for it
QUICK = Timeouts(watch_retry=0.05, refused_retry=0.2, poll=0.02)


@pytest.fixture
def store(cluster: Cluster) -> KubernetesStore:
    cluster.reset_namespaces(NS, DRIVER, "oauth2-csi-tokens")
    return KubernetesStore(cluster.client(QUICK))


def make(plane: ControlPlane, name: str, namespace: str = NS, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "annotations": {IS_TOKEN: "true"}}
    manifest = {"metadata": metadata, "data": {"oauth": "e30="}, **fields}
    made: dict[str, Any] = plane.api("POST", f"/api/v1/namespaces/{namespace}/secrets", manifest)
    assert made["kind"] == "Secret", made
    return made


def test_a_server_of_another_authority_is_not_spoken_to(cluster: Cluster) -> None:
    loaded = json.loads(cluster.refresher.read_text())
    del loaded["clusters"][0]["cluster"]["certificate-authority"]
    path = cluster.plane.root / "untrusted.kubeconfig"
    path.write_text(json.dumps(loaded))
    store = KubernetesStore(KubernetesClient(from_kubeconfig(path)))
    with pytest.raises(StoreUnavailable, match="not trusted"):
        store.get_secret(NS, "token")


def test_a_watch_survives_a_crash_of_the_api_server_or_says_so(
    cluster: Cluster, store: KubernetesStore
) -> None:
    """Nothing is lost either way: a watch that starts anew tells everything first."""
    make(cluster.plane, "token")
    said: Queue[SecretChange | StoreError | None] = Queue()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            try:
                for each in store.watch_changes(stop):
                    said.put(each)
            except StoreError as error:
                said.put(error)
                stop.wait(QUICK.refused_retry)

    with ThreadPoolExecutor(1) as threads, ExitStack() as stack:
        stack.callback(stop.set)
        threads.submit(watch)
        assert isinstance(said.get(timeout=WAIT), SecretChange)
        assert said.get(timeout=WAIT) is None
        cluster.plane.stop_api_server(kill=True)
        with pytest.raises(StoreUnavailable):
            store.get_secret(NS, "token")
        cluster.plane.start_api_server()
        made = make(cluster.plane, "later")
        version = made["metadata"]["resourceVersion"]
        wanted = SecretChange(SourceRef(NS, "later"), TokenObject.SOURCE, version)
        until(lambda: said.get(timeout=WAIT) == wanted, "it is told")
