"""A cluster in memory, as the broker reads it."""

import copy
import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from csidriver.core.annotations import COMPANION_SECRET_TYPE
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import BROKER_AUDIENCE, DRIVER_NAME, SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import StoreUnavailable

ACCOUNT = "oauth2-csi:oauth2-csi-node"
TOKENS = "oauth2-csi-tokens"
HELLO = SourceRef("alice", "hello-token")
EXTRA = "authentication.kubernetes.io/"
NEEDLE = "access-needle-that-no-other-node-may-see"


def review(node: str, pod: str = "plugin", **status: Any) -> dict[str, Any]:
    """The review of a plugin's token; `status` replaces parts."""
    extra = {"node-name": node, "pod-name": f"{pod}-{node}", "pod-uid": f"uid-{pod}-{node}"}
    user = {
        "username": f"system:serviceaccount:{ACCOUNT}",
        "extra": {f"{EXTRA}{key}": [value] for key, value in extra.items() if value},
    }
    known = {"authenticated": True, "audiences": [BROKER_AUDIENCE], "user": user}
    return {"status": known | status}


def pod_manifest(pod: PodRef, node: str, *secrets: str, **attributes: str) -> dict[str, Any]:
    """A pod with a volume for each Secret."""
    volumes = [
        {
            "name": f"v{number}",
            "csi": {
                "driver": DRIVER_NAME,
                "volumeAttributes": {"secretName": secret, "owner": "0", **attributes},
            },
        }
        for number, secret in enumerate(secrets)
    ]
    return {
        "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
        "spec": {"nodeName": node, "serviceAccountName": "default", "volumes": volumes},
        "status": {"phase": "Running"},
    }


def companion(
    generation: int = 1, ref: SourceRef = HELLO, token: str = NEEDLE, namespace_uid: str = ""
) -> Companion:
    access = AccessToken(Sensitive(f"{token}-{generation}"), "Bearer", 1000.0, 1300.0, 1000.125)
    message = "The token is valid."
    return Companion(ref, "s-1", generation, Status.READY, message, 1200.0, access, namespace_uid)


def change_to(ref: SourceRef, secret: Secret | None) -> SecretChange:
    version = "" if secret is None else secret.resource_version
    return SecretChange(ref, TokenObject.COMPANION, version, content=secret)


class FakeCluster:
    """Objects that tests change at any time; `down` fails every request."""

    def __init__(self) -> None:
        self.down = False
        self.reviews: dict[str, dict[str, Any]] = {}
        self.pods: dict[PodRef, dict[str, Any]] = {}
        # What the cache still says, by namespace and name; None: that there is no such pod.
        self.cached: dict[tuple[str, str], dict[str, Any] | None] = {}
        self.namespaces = {"alice": "n-1", "bob": "n-2"}
        self.config_maps: dict[tuple[str, str], dict[str, str]] = {}
        self.reads: list[str] = []
        self.reviewed: list[str] = []
        # A list of pods that has been read waits for this before it is answered; so do reviews.
        self.lists_read = 0
        self.answer_lists, self.answer_reviews = threading.Event(), threading.Event()
        self.answer_lists.set()
        self.answer_reviews.set()
        self._secrets: dict[str, Secret] = {}
        self._version = 100
        self._watches: list[queue.Queue[SecretChange | StoreUnavailable]] = []
        self._lock = threading.Lock()

    def add_pod(self, pod: PodRef, node: str, *secrets: str, **attributes: str) -> PodRef:
        self.pods[pod] = pod_manifest(pod, node, *secrets, **attributes)
        return pod

    def write(self, written: Companion, name: str = "", **changes: Any) -> None:
        """Write a companion as the refresher does, into a Secret of another `name` if given."""
        with self._lock:
            self._version += 1
            name = name or written.source.companion
            self._secrets[name] = Secret(
                TOKENS,
                name,
                resource_version=str(self._version),
                type=COMPANION_SECRET_TYPE,
                annotations=written.annotations() | changes,
                data=written.data(),
            )
            self._report(written.source, self._secrets[name])

    def delete(self, ref: SourceRef) -> None:
        with self._lock:
            del self._secrets[ref.companion]
            self._report(ref, None)

    def cut_watches(self) -> None:
        with self._lock:
            for watch in self._watches:
                watch.put(StoreUnavailable("the watch was cut"))
            self._watches.clear()

    def _report(self, ref: SourceRef, secret: Secret | None) -> None:
        for watch in self._watches:
            watch.put(change_to(ref, secret))

    def review_token(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self._read("review")
        assert body["spec"]["audiences"] == [BROKER_AUDIENCE]
        self.reviewed.append(body["spec"]["token"])
        self.answer_reviews.wait(10)
        refused = {"status": {"authenticated": False, "error": "invalid bearer token"}}
        return self.reviews.get(body["spec"]["token"], refused)

    def get_pod(self, namespace: str, name: str, *, cached: bool) -> Mapping[str, Any] | None:
        self._read("cached pod" if cached else "pod")
        if cached and (namespace, name) in self.cached:
            return self.cached[namespace, name]
        found = [
            manifest
            for pod, manifest in self.pods.copy().items()
            if (pod.namespace, pod.name) == (namespace, name)
        ]
        return copy.deepcopy(found[0]) if found else None

    def ended_pods(self, followed: frozenset[PodRef], node: str) -> frozenset[PodRef]:
        self._read("pods")
        found = [pod for pod, m in self.pods.copy().items() if m["spec"].get("nodeName") == node]
        self.lists_read += 1
        self.answer_lists.wait(10)
        return followed - frozenset(found)

    def get_namespace_uid(self, namespace: str) -> str:
        self._read("namespace")
        return self.namespaces.get(namespace, "")

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        self._read("config map")
        return self.config_maps.get((namespace, name))

    def watch_changes(self, stop: threading.Event) -> Iterator[SecretChange | None]:
        self._read("watch")
        changes: queue.Queue[SecretChange | StoreUnavailable] = queue.Queue()
        with self._lock:
            self._watches.append(changes)
            known = list(self._secrets.values())
        for secret in known:
            yield change_to(Companion.from_secret(secret).source, secret)
        yield None
        while not stop.is_set():
            try:
                change = changes.get(timeout=0.02)
            except queue.Empty:
                continue
            if isinstance(change, StoreUnavailable):
                raise change
            yield change

    def versions(self) -> dict[str, str]:
        with self._lock:
            return {name: secret.resource_version for name, secret in self._secrets.items()}

    def _read(self, what: str) -> None:
        self.reads.append(what)
        if self.down:
            raise StoreUnavailable("cannot reach the API server")
