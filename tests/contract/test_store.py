"""The contract of a store. Another backend needs a harness and one more `params` entry."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.kubernetes import (
    BrokerBackend,
    KubernetesClient,
    KubernetesStore,
    from_kubeconfig,
)
from csidriver.core.annotations import (
    COMPANION_SECRET_TYPE,
    GRANT_SECRET_TYPE,
    IS_TOKEN,
    MESSAGE,
    SOURCE_NAME,
    SOURCE_NAMESPACE,
    STATUS,
)
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import FIELD_MANAGER, REFRESHER, SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreConflict, StoreRefused
from tests.adapters.kubernetes.watching import WatchThread
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.kubectl_store import LAST_APPLIED, KubectlStore

NS = "alice"
DRIVER, TOKENS = "oauth2-csi", "oauth2-csi-tokens"
FOREIGN = "example.org/note"
ODD = " 'two'\n\n\tlines: \\ \u2028 \x7f \U0001f511 "
SEED = "eyJyZWZyZXNoX3Rva2VuIjoicjEifQ=="
WAIT = 20.0  # seconds until a watch that yields nothing counts as broken


Store = DirectoryStore | KubernetesStore
# Reads a pod's namespace for a node.
Reader = DirectoryStore | BrokerBackend


class DirectoryHarness:
    def __init__(self, root: Path) -> None:
        self.store = self.reader = DirectoryStore(root, poll=0.005)
        self._user = KubectlStore(root)
        self._folder = root / NS

    def apply(self, manifest: Mapping[str, Any]) -> None:
        self._user.apply(manifest, NS)

    def replace(self, manifest: Mapping[str, Any]) -> None:
        self._user.replace(manifest, NS)

    def remove(self, name: str) -> None:
        self._user.remove("Secret", NS, name)

    def make_namespace_again(self) -> None:
        shutil.rmtree(self._folder)

    def stored(self, name: str) -> Any:
        return yaml.safe_load((self._folder / f"secret.{name}.yaml").read_text())

    def events(self, namespace: str = NS) -> list[dict[str, Any]]:
        folder = self._folder.parent / namespace
        return [yaml.safe_load(path.read_text()) for path in folder.glob("event.*.yaml")]


class KubernetesHarness:
    """A real API server: each role with its own ServiceAccount and no right beyond deploy/."""

    def __init__(self, cluster: Cluster) -> None:
        cluster.reset_namespaces(NS, DRIVER, TOKENS)
        self._plane = cluster.plane
        self.store = KubernetesStore(cluster.client())
        self.reader = BrokerBackend(KubernetesClient(from_kubeconfig(cluster.broker)))

    def apply(self, manifest: Mapping[str, Any]) -> None:
        self._kubectl("apply", "--filename=-", stdin=json.dumps(manifest))

    def replace(self, manifest: Mapping[str, Any]) -> None:
        self._kubectl("replace", "--filename=-", stdin=json.dumps(manifest))

    def remove(self, name: str) -> None:
        self._kubectl("delete", "Secret", name)

    def make_namespace_again(self) -> None:
        self._plane.make_namespace_again(NS)

    def stored(self, name: str) -> Any:
        return self._plane.api("GET", f"/api/v1/namespaces/{NS}/secrets/{name}")

    def events(self, namespace: str = NS) -> Any:
        return self._plane.api("GET", f"/api/v1/namespaces/{namespace}/events")["items"]

    def _kubectl(self, *arguments: str, stdin: str = "") -> None:
        self._plane.kubectl(*arguments, f"--namespace={NS}", stdin=stdin)


# A backend as both roles see it, and what users do to its objects behind their backs.
Harness = DirectoryHarness | KubernetesHarness


@pytest.fixture(
    params=["directory", pytest.param("kubernetes", marks=pytest.mark.tools(*PROGRAMS))]
)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    if request.param == "directory":
        return DirectoryHarness(tmp_path)
    return KubernetesHarness(request.getfixturevalue("cluster"))


@pytest.fixture
def store(harness: Harness) -> Store:
    return harness.store


@pytest.fixture
def reader(harness: Harness) -> Reader:
    return harness.reader


def manifest(name: str = "token", **changes: Any) -> dict[str, Any]:
    """A user's source as `kubectl apply` gets it; changes replace whole fields."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "annotations": {IS_TOKEN: "true", FOREIGN: ODD}},
        "data": {"oauth": SEED, "binary": "/wD+"},
        **changes,
    }


def unannotated() -> dict[str, Any]:
    return manifest(metadata={"name": "token"})


def grant(name: str = "grant-1") -> Secret:
    return Secret(DRIVER, name, type=GRANT_SECRET_TYPE, data={"document": Sensitive("d1")})


def companion(name: str = "token-1") -> Secret:
    return Secret(TOKENS, name, type=COMPANION_SECRET_TYPE, data={"document": Sensitive("d1")})


def read(store: Store, name: str = "token", namespace: str = NS) -> Secret:
    secret = store.get_secret(namespace, name)
    assert secret is not None
    return secret


def document(text: str) -> SecretPatch:
    return SecretPatch(data={"document": Sensitive(text)})


def test_absent_objects_are_none(harness: Harness, store: Store, reader: Reader) -> None:
    assert store.get_secret(NS, "nobody") is None
    assert store.get_namespace_uid("nobody") == reader.get_namespace_uid("nobody") == ""
    assert list(store.list_secrets(DRIVER, GRANT_SECRET_TYPE)) == []
    assert reader.get_config_map(NS, "eos") is None
    template = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "eos"}}
    for data in ({"data": {"template": ODD}}, {}):
        harness.apply(template | data)
        assert reader.get_config_map(NS, "eos") == data.get("data", {})


def test_a_namespace_made_again_has_another_uid(harness: Harness) -> None:
    harness.apply(manifest())
    uid = harness.store.get_namespace_uid(NS)
    assert uid
    assert harness.store.get_namespace_uid(NS) == harness.reader.get_namespace_uid(NS) == uid
    harness.make_namespace_again()
    harness.apply(manifest())
    other = harness.store.get_namespace_uid(NS)
    assert other not in {"", uid}
    assert harness.reader.get_namespace_uid(NS) == other


def test_a_write_needs_the_newest_version_and_changes_nothing_without(store: Store) -> None:
    base = store.create_secret(grant())
    with pytest.raises(StoreConflict):
        store.create_secret(grant())
    newer = store.patch_secret(base, document("d2"))
    assert newer.resource_version != base.resource_version
    with pytest.raises(StoreConflict):
        store.patch_secret(base, document("d3"))
    with pytest.raises(StoreConflict):
        store.delete_secret(base)
    assert read(store, "grant-1", DRIVER) == newer
    for _ in range(2):
        store.delete_secret(newer)
    with pytest.raises(StoreConflict):
        store.patch_secret(newer, document("d3"))
    assert store.get_secret(DRIVER, "grant-1") is None
    again = store.create_secret(grant())
    assert again.uid != base.uid
    assert again.resource_version != base.resource_version


def test_a_patch_removes_what_it_names_none_and_needs_a_change_for_a_version(store: Store) -> None:
    base = store.create_secret(replace(grant(), annotations={STATUS: "Valid"}))
    assert store.patch_secret(base, document("d1")) == base
    assert store.patch_secret(base, SecretPatch(annotations={MESSAGE: None})) == base
    patch = SecretPatch(annotations={STATUS: None}, data={"document": None})
    patched = store.patch_secret(base, patch)
    assert (patched.annotations, patched.data) == ({}, {})


def test_what_was_created_is_read_and_listed_by_type_and_namespace(
    harness: Harness, store: Store
) -> None:
    harness.apply(manifest())
    store.create_secret(grant("grant-2"))
    created = store.create_secret(replace(grant(), annotations={STATUS: "Valid"}))
    store.create_secret(replace(grant("another"), type="Opaque"))
    assert created.uid
    assert created.resource_version
    assert created == read(store, "grant-1", DRIVER)
    assert created.data == {"document": Sensitive("d1")}
    assert (created.annotations, created.type) == ({STATUS: "Valid"}, GRANT_SECRET_TYPE)
    assert created.manager == FIELD_MANAGER
    listed = list(store.list_secrets(DRIVER, GRANT_SECRET_TYPE))
    assert listed == [created, read(store, "grant-2", DRIVER)]
    assert [secret.name for secret in store.list_secrets(NS, "Opaque")] == ["token"]


def test_our_patch_leaves_what_is_not_ours_byte_for_byte(harness: Harness, store: Store) -> None:
    harness.apply(manifest())
    before = harness.stored("token")
    patch = SecretPatch(annotations={STATUS: "Valid"}, data={"oauth": Sensitive("new")})
    patched = store.patch_secret(read(store), patch)
    after = harness.stored("token")
    assert after["data"] == before["data"] | {"oauth": "bmV3"}
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"] | {STATUS: "Valid"}
    assert after["metadata"]["annotations"][FOREIGN] == ODD
    assert FOREIGN not in patched.annotations


def test_immutable_data_is_refused_and_annotations_are_not(harness: Harness, store: Store) -> None:
    harness.apply(manifest(immutable=True))
    for data in (Sensitive("new"), None):
        with pytest.raises(StoreRefused):
            store.patch_secret(read(store), SecretPatch(data={"oauth": data}))
    patched = store.patch_secret(read(store), SecretPatch(annotations={STATUS: "Valid"}))
    assert patched.annotations[STATUS] == "Valid"
    assert patched.data["oauth"].reveal() == '{"refresh_token":"r1"}'


def test_apply_says_what_of_the_users_there_is_and_keeps_our_annotations(
    harness: Harness, store: Store
) -> None:
    harness.apply(manifest())
    first = read(store)
    harness.apply(manifest())
    assert read(store) == first
    patch = SecretPatch(annotations={STATUS: "Valid"}, data={"oauth": Sensitive("new")})
    mirrored = store.patch_secret(first, patch)
    harness.apply(manifest())
    after = read(store)
    assert after.data == first.data
    assert after.annotations == {IS_TOKEN: "true", STATUS: "Valid"}
    assert after.uid == first.uid
    assert after.resource_version != mirrored.resource_version
    assert after.manager not in {"", FIELD_MANAGER}
    harness.apply(unannotated() | {"data": {"oauth": SEED}})
    assert read(store).annotations == {STATUS: "Valid"}
    stored = harness.stored("token")
    assert stored["data"] == {"oauth": SEED}
    assert json.loads(stored["metadata"]["annotations"][LAST_APPLIED])["data"] == {"oauth": SEED}


def test_replace_takes_our_annotations_away_and_keeps_the_uid_which_a_new_secret_does_not(
    harness: Harness, store: Store
) -> None:
    harness.apply(manifest())
    first = read(store)
    store.patch_secret(first, SecretPatch(annotations={STATUS: "Valid"}))
    harness.replace(manifest())
    after = read(store)
    assert (after.annotations, after.uid) == ({IS_TOKEN: "true"}, first.uid)
    assert after.manager not in {"", FIELD_MANAGER}
    harness.remove("token")
    harness.apply(manifest(data={}, stringData={"oauth": ODD}))
    assert read(store).uid != first.uid
    assert read(store).data["oauth"].reveal() == ODD


def source(resource_version: str, name: str = "token") -> SecretChange:
    return SecretChange(SourceRef(NS, name), TokenObject.SOURCE, resource_version)


def test_a_watch_yields_sources_first_and_then_their_changes(
    harness: Harness, store: Store
) -> None:
    harness.apply(manifest())
    harness.apply(manifest("plain", metadata={"name": "plain"}))
    with WatchThread(store) as seen:
        first = seen.next()
        assert first == source(read(store).resource_version)
        assert first is not None
        assert first.uid == read(store).uid
        assert seen.next() is None
        harness.apply(manifest("other"))
        told = read(store, "other").resource_version
        assert seen.next() == source(told, "other")
        patched = store.patch_secret(read(store), SecretPatch(annotations={STATUS: "Valid"}))
        change = seen.next()
        assert change is not None
        assert replace(change, written_by_driver=False) == source(patched.resource_version)
        harness.apply(unannotated())
        assert seen.next() == source("")
        harness.apply(manifest())
        assert seen.next() == source(read(store).resource_version)
        harness.remove("token")
        assert seen.next() == source("")


def test_a_source_is_by_us_when_nobody_wrote_since(harness: Harness, store: Store) -> None:
    harness.apply(manifest())
    with WatchThread(store) as seen:
        assert seen.next() == source(read(store).resource_version)
        assert seen.next() is None
        by_us, attempts = False, 0
        while not by_us:
            # Who wrote in which second is all that a backend knows: in one second with a
            # stranger's write ours does not count as the newest.
            attempts += 1
            patch = SecretPatch(annotations={STATUS: str(attempts)})
            patched = store.patch_secret(read(store), patch)
            change = seen.next()
            assert change is not None
            assert change.resource_version == patched.resource_version
            assert attempts < 10_000
            by_us = change.written_by_driver
            assert (patched.manager == FIELD_MANAGER) is by_us
        harness.apply(manifest(data={"oauth": SEED}))
        assert seen.next() == source(read(store).resource_version)
    with WatchThread(store) as seen:
        assert seen.next() == source(read(store).resource_version)
        assert seen.next() is None


def test_a_watch_yields_grants_and_companions_with_their_token(store: Store) -> None:
    ref = SourceRef(NS, "token")
    notes = {SOURCE_NAMESPACE: ref.namespace, SOURCE_NAME: ref.name}
    kept = store.create_secret(replace(grant(ref.grant), annotations=notes))
    shown = store.create_secret(replace(companion(ref.companion), annotations=notes))
    strangers = [
        replace(grant(SourceRef(NS, "a").grant), annotations=notes),
        replace(grant("no-notes")),
        replace(companion(SourceRef(NS, "b").companion), annotations=notes, type="Opaque"),
        replace(companion(ref.grant), annotations=notes),
    ]
    for stranger in strangers:
        store.create_secret(stranger)
    with WatchThread(store) as seen:
        assert {seen.next(), seen.next()} == {
            SecretChange(ref, TokenObject.GRANT, kept.resource_version),
            SecretChange(ref, TokenObject.COMPANION, shown.resource_version),
        }
        assert seen.next() is None
        shown = store.patch_secret(shown, document("d2"))
        assert seen.next() == SecretChange(ref, TokenObject.COMPANION, shown.resource_version)
        kept = store.patch_secret(kept, SecretPatch(annotations={SOURCE_NAME: None}))
        assert seen.next() == SecretChange(ref, TokenObject.GRANT, "")
        kept = store.patch_secret(kept, SecretPatch(annotations={SOURCE_NAME: ref.name}))
        assert seen.next() == SecretChange(ref, TokenObject.GRANT, kept.resource_version)
        store.delete_secret(kept)
        assert seen.next() == SecretChange(ref, TokenObject.GRANT, "")
        store.delete_secret(shown)
        assert seen.next() == SecretChange(ref, TokenObject.COMPANION, "")


def test_the_age_is_that_of_our_newest_write(harness: Harness, store: Store) -> None:
    # Processes that share a folder share a clock, too, so they need no age.
    is_known = isinstance(harness, KubernetesHarness)
    created = store.create_secret(grant())
    for secret in (created, *store.list_secrets(DRIVER, GRANT_SECRET_TYPE)):
        assert (secret.age is not None) is is_known
        assert 0.0 <= (secret.age or 0.0) < WAIT
    harness.apply(manifest())
    assert read(store).age is None
    patched = store.patch_secret(read(store), SecretPatch(data={"oauth": Sensitive("new")}))
    assert (patched.age is not None) is is_known


def test_events_are_counted(harness: Harness, store: Store) -> None:
    harness.apply(manifest())
    uid = read(store).uid
    failed = Event(SourceRef(NS, "token"), uid, "RefreshFailed", "no answer", normal=False)
    for event in (failed, *[replace(failed, message="still no answer")] * 2):
        store.create_event(event)
    store.create_event(replace(failed, reason="Refreshed", message="fine", normal=True))
    told = {event["reason"]: event for event in harness.events()}
    assert told.keys() == {"RefreshFailed", "Refreshed"}
    counted = told["RefreshFailed"]
    assert (counted["count"], counted["message"]) == (3, "still no answer")
    assert (counted["type"], told["Refreshed"]["type"]) == ("Warning", "Normal")
    assert counted["involvedObject"]["uid"] == uid
    assert counted["firstTimestamp"] <= counted["lastTimestamp"]
    silent = Event(SourceRef(DRIVER, REFRESHER), "", "IssuerUnavailable", "a", False, "Deployment")
    for event in (silent, silent, replace(silent, topic="b of \u00fc", message="b")):
        store.create_event(event)
    by_topic = {event["message"]: event["count"] for event in harness.events(DRIVER)}
    assert by_topic == {"a": 2, "b": 1}
