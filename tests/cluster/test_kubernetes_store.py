"""Properties of the store that only a real API server shows; tests/contract has the others."""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import pytest

from csidriver.adapters.kubernetes import (
    KubernetesClient,
    KubernetesStore,
    Timeouts,
    from_kubeconfig,
)
from csidriver.core.annotations import GRANT_SECRET_TYPE, IS_TOKEN, STATUS
from csidriver.core.kubernetes.change import Namespaces, SecretChange, TokenObject
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreConflict, StoreError, StoreRefused, StoreUnavailable
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


def read(store: KubernetesStore, name: str) -> Secret:
    secret = store.get_secret(NS, name)
    assert secret is not None
    return secret


@contextmanager
def watched(store: KubernetesStore) -> Iterator["Queue[SecretChange | StoreError | None]"]:
    said: Queue[SecretChange | StoreError | None] = Queue()
    stop = threading.Event()

    def run() -> None:
        try:
            for change in store.watch_changes(stop):
                said.put(change)
        except StoreError as error:
            said.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield said
    finally:
        stop.set()
        thread.join(2.0)
        assert not thread.is_alive(), "a stop ends it promptly"


def test_a_quota_refuses(cluster: Cluster, store: KubernetesStore) -> None:
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"secrets": "0"}}}
    cluster.plane.api("POST", f"/api/v1/namespaces/{DRIVER}/resourcequotas", quota)
    path = f"/api/v1/namespaces/{DRIVER}/resourcequotas/full"
    try:
        # Nobody computes what is used here; a quota of which nothing is known refuses as well.
        cluster.plane.api(
            "PATCH",
            f"{path}/status",
            {"status": {"hard": {"secrets": "0"}, "used": {"secrets": "0"}}},
            "application/merge-patch+json",
        )
        with pytest.raises(StoreRefused, match="quota"):
            store.create_secret(Secret(DRIVER, "grant-1", type=GRANT_SECRET_TYPE))
    finally:
        cluster.plane.api("DELETE", path)


def test_an_admission_policy_refuses_whatever_code_it_chooses(
    cluster: Cluster, store: KubernetesStore
) -> None:
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule | {"resources": ["secrets"]}]},
        "validations": [{"expression": "false", "message": "no-needle", "reason": "Forbidden"}],
    }
    cluster.plane.api("POST", policies, {"metadata": {"name": "no.example"}, "spec": spec})
    bound = {
        "policyName": "no.example",
        "validationActions": ["Deny"],
        "matchResources": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NS}}
        },
    }
    bindings = f"{policies.removesuffix('policies')}policybindings"
    cluster.plane.api("POST", bindings, {"metadata": {"name": "no.example"}, "spec": bound})
    make(cluster.plane, "token")
    try:
        attempts = itertools.count()

        def refusal() -> StoreError | None:
            patch = SecretPatch(annotations={STATUS: str(next(attempts))})
            try:
                store.patch_secret(read(store, "token"), patch)
            except StoreError as error:
                return error
            return None

        refused = until(refusal, "the policy comes into force")
        assert isinstance(refused, StoreRefused)
        assert "needle" not in str(refused)
    finally:
        for path in (bindings, policies):
            cluster.plane.api("DELETE", f"{path}/no.example")


def test_users_secrets_are_neither_created_nor_deleted(
    cluster: Cluster, store: KubernetesStore
) -> None:
    make(cluster.plane, "token")
    with pytest.raises(StoreRefused, match=f"the right to create secrets in namespace {NS}"):
        store.create_secret(Secret(NS, "new"))
    with pytest.raises(StoreRefused, match=f"the right to delete secrets in namespace {NS}"):
        store.delete_secret(read(store, "token"))


def test_a_namespace_that_does_not_exist_takes_nothing(store: KubernetesStore) -> None:
    with pytest.raises(StoreRefused):
        store.create_event(Event(SourceRef("nowhere", "x"), "u", "Ready", "m", normal=True))


def test_what_is_no_service_account_token_is_refused(cluster: Cluster) -> None:
    loaded = json.loads(cluster.refresher.read_text())
    loaded["users"][0]["user"]["token"] = "nonsense"
    path = cluster.plane.root / "nonsense.kubeconfig"
    path.write_text(json.dumps(loaded))
    store = KubernetesStore(KubernetesClient(from_kubeconfig(path)))
    with pytest.raises(StoreRefused, match="credentials"):
        store.get_secret(NS, "token")


def test_a_server_of_another_authority_is_not_spoken_to(cluster: Cluster) -> None:
    loaded = json.loads(cluster.refresher.read_text())
    del loaded["clusters"][0]["cluster"]["certificate-authority"]
    path = cluster.plane.root / "untrusted.kubeconfig"
    path.write_text(json.dumps(loaded))
    store = KubernetesStore(KubernetesClient(from_kubeconfig(path)))
    with pytest.raises(StoreUnavailable, match="not trusted"):
        store.get_secret(NS, "token")


def test_many_secrets_are_listed_over_many_pages(store: KubernetesStore) -> None:
    def create(numbers: range) -> None:
        for number in numbers:
            store.create_secret(Secret(DRIVER, f"grant-{number:04}", type=GRANT_SECRET_TYPE))

    threads = [threading.Thread(target=create, args=(range(n, 1100, 8),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [secret.name for secret in store.list_secrets(DRIVER, GRANT_SECRET_TYPE)]
    assert found == [f"grant-{number:04}" for number in range(1100)]


def test_one_of_32_writers_wins_each_round(store: KubernetesStore) -> None:
    base = store.create_secret(Secret(DRIVER, "grant-1", type=GRANT_SECRET_TYPE))
    won: list[str] = []
    lost: list[StoreError] = []

    def write(number: int) -> None:
        try:
            patch = SecretPatch(data={"state": Sensitive(str(number))})
            won.append(store.patch_secret(base, patch).resource_version)
        except StoreError as error:
            lost.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert [type(error) for error in lost] == [StoreConflict] * 31


@contextmanager
def narrow(cluster: Cluster, *namespaces: str) -> Iterator[None]:
    """The refresher's rights on users' Secrets in these namespaces only, as operators may set."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": REFRESHER}
    subject = {"kind": "ServiceAccount", "name": REFRESHER, "namespace": DRIVER}
    binding = {"metadata": {"name": REFRESHER}, "roleRef": role, "subjects": [subject]}
    cluster.plane.api("DELETE", f"{rbac}/clusterrolebindings/{REFRESHER}")
    for namespace in namespaces:
        path = f"{rbac}/namespaces/{namespace}/rolebindings"
        cluster.plane.api("POST", path, binding)
    try:
        yield
    finally:
        cluster.plane.api("POST", f"{rbac}/clusterrolebindings", binding)
        for namespace in namespaces:
            path = f"{rbac}/namespaces/{namespace}/rolebindings"
            cluster.plane.api("DELETE", f"{path}/{REFRESHER}")


REFRESHER = "oauth2-csi-refresher"


def test_enrolled_namespaces_need_no_right_to_all(cluster: Cluster, store: KubernetesStore) -> None:
    cluster.reset_namespaces("dave")
    for namespace in (NS, "dave"):
        make(cluster.plane, "token", namespace)
    with narrow(cluster, NS):
        with watched(store) as said:
            refused = said.get(timeout=WAIT)
            while not isinstance(refused, StoreRefused):  # rights are taken away with a delay
                refused = said.get(timeout=WAIT)
            assert "in all namespaces" in str(refused)
        places = Namespaces(sources=(NS, "dave"))
        enrolled = KubernetesStore(cluster.client(QUICK), places)
        with watched(enrolled) as said:
            first = said.get(timeout=WAIT)
            assert isinstance(first, SecretChange)
            assert first.ref == SourceRef(NS, "token")
            assert said.get(timeout=WAIT) is None
            made = make(cluster.plane, "later")
            told = said.get(timeout=WAIT)
            assert told == SecretChange(
                SourceRef(NS, "later"), TokenObject.SOURCE, made["metadata"]["resourceVersion"]
            )


def test_a_watch_survives_a_crash_of_the_api_server_or_says_so(
    cluster: Cluster, store: KubernetesStore
) -> None:
    """Nothing is lost either way: a watch that starts anew tells everything first."""
    make(cluster.plane, "token")
    with watched(store) as said:
        assert isinstance(said.get(timeout=WAIT), SecretChange)
        assert said.get(timeout=WAIT) is None
        cluster.plane.stop_api_server(kill=True)
        with pytest.raises(StoreUnavailable):
            store.get_secret(NS, "token")
        cluster.plane.start_api_server()
        made = make(cluster.plane, "later")
        wanted = SecretChange(
            SourceRef(NS, "later"), TokenObject.SOURCE, made["metadata"]["resourceVersion"]
        )
        told = said.get(timeout=WAIT)
        if isinstance(told, StoreError):
            # Until it has read its RBAC, an API server that starts refuses everybody.
            until(lambda: wanted in told_anew(store), "a watch that tells it")
        else:
            assert told == wanted


def told_anew(store: KubernetesStore) -> list[SecretChange]:
    """Return the first changes of a new watch."""
    seen = []
    with watched(store) as said:
        while isinstance(word := said.get(timeout=WAIT), SecretChange):
            seen.append(word)
    return seen
